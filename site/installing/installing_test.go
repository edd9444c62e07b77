package installing

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/install/recipe"
	"ore/node/installing"
	"ore/plan"
	"ore/site/disks"
)

// one is a storage of partitions on the one disk.
func one(parts ...ore.Partition) ore.Storage {
	return ore.Storage{Disks: []ore.Disk{{Partitions: parts}}}
}

func part(size ore.Share, fs, mount string) ore.Partition {
	return ore.Partition{Size: size, FileSystem: ore.FileSystem{FS: fs, Mount: mount}}
}

var rest = ore.Share{Rest: true}

func on(fs string, part int) installing.FileSystem { return installing.FileSystem{FS: fs, Part: part} }

// Where the root will be is known before there is a disk.
func TestRootOf(t *testing.T) {
	lvm := one(ore.Partition{Size: rest, Group: "vg0"})
	lvm.Volumes = []ore.Volume{{Group: "vg0", Name: "root", Size: rest, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/"}}}
	half := ore.Share{Percent: 50}
	volume := one(part(half, "ext4", "/"), ore.Partition{Size: rest, Group: "vg0"})
	volume.Volumes = []ore.Volume{{Group: "vg0", Name: "usr", Size: rest, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/usr"}}}
	raid := one(ore.Partition{Size: ore.Share{Percent: 40}, Array: "md0"}, ore.Partition{Size: ore.Share{Percent: 40}, Array: "md0"})
	raid.Arrays = []ore.RAID{{Name: "md0", Level: 1, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}}}
	for _, c := range []struct {
		summary string
		storage ore.Storage
		system  ore.System
		want    installing.Root // but for the UUIDs
	}{
		{"the default", ore.Storage{}, ore.System{}, installing.Root{FileSystem: on("ext4", 1)}},
		{"what a firmware needs comes before it", ore.Storage{}, ore.System{Loader: ore.GRUB, Firmware: ore.BIOS}, installing.Root{FileSystem: on("ext4", 2)}},
		{"an EFI system partition", ore.Storage{}, ore.System{Loader: ore.GRUB, Firmware: ore.UEFI}, installing.Root{FileSystem: on("ext4", 2), More: true, Modules: modules("vfat")}},
		{"swap and more", one(part(ore.Share{Bytes: 64 << 20}, "swap", ""), part(rest, "ext4", "/")), ore.System{}, installing.Root{FileSystem: on("ext4", 2), More: true}},
		{"/usr as well", one(part(ore.Share{Bytes: 64 << 20}, "swap", ""), part(half, "ext4", "/usr"), part(rest, "ext4", "/")), ore.System{},
			installing.Root{FileSystem: on("ext4", 3), Usr: new(on("ext4", 2)), More: true}},
		{"/usr alone", one(part(half, "ext4", "/"), part(rest, "ext4", "/usr")), ore.System{}, installing.Root{FileSystem: on("ext4", 1), Usr: new(on("ext4", 2))}},
		{"/usr of another kind", one(part(half, "ext4", "/"), part(rest, "xfs", "/usr")), ore.System{},
			installing.Root{FileSystem: on("ext4", 1), Usr: new(on("xfs", 0)), Modules: []string{"xfs"}}},
		{"/usr on a volume", volume, ore.System{}, installing.Root{FileSystem: on("ext4", 1), Usr: new(on("ext4", 0)), Modules: []string{"dm-mod"}, Volumes: true}},
		{"btrfs", one(part(rest, "btrfs", "/")), ore.System{}, installing.Root{FileSystem: on("btrfs", 0), Modules: []string{"btrfs"}}},
		{"a volume", lvm, ore.System{}, installing.Root{FileSystem: on("xfs", 0), Modules: []string{"xfs", "dm-mod"}, Volumes: true}},
		{"an array", raid, ore.System{}, installing.Root{FileSystem: on("ext4", 0), Modules: []string{"raid1"}, Arrays: true}},
	} {
		r := recipe.Recipe{Name: "m0", Seed: "job/m0", Storage: disks.Of(c.storage), System: c.system}
		got, err := rootOf(r, 8<<30)
		if err != nil {
			t.Errorf("%s: %v", c.summary, err)
			continue
		}
		if got.UUID == "" || got.Usr != nil && got.Usr.UUID == "" {
			t.Errorf("%s: %+v: no UUID", c.summary, got)
		}
		if got.UUID = ""; got.Usr != nil {
			got.Usr.UUID = ""
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.summary, d)
		}
	}
}

// What does not fit is refused before anything is started.
func TestRootThatDoesNotFit(t *testing.T) {
	r := recipe.Recipe{Name: "m0", Seed: "job/m0", Storage: disks.Of(one(part(ore.Share{Bytes: 9 << 30}, "ext4", "/")))}
	if _, err := rootOf(r, 8<<30); err == nil {
		t.Error("9 GiB fit onto 8")
	}
	two := ore.Storage{Disks: []ore.Disk{{Partitions: []ore.Partition{part(rest, "ext4", "/")}}, {Partitions: []ore.Partition{part(rest, "ext4", "/data")}}}}
	r.Storage = disks.Of(two)
	if _, err := rootOf(r, 8<<30); err == nil || !strings.Contains(err.Error(), "disk 2") {
		t.Errorf("two disks, of which there is one: %v", err)
	}
}

// Packages that a machine's description needs are added, once.
func TestComplete(t *testing.T) {
	j := ore.Job{Wants: ore.Wants{Packages: []ore.Wish{{Name: "tzdata"}, {Name: "hello"}}}, Machines: ore.Machines{
		Root: ore.OnDisk, Storage: one(part(rest, "xfs", "/")),
		System: ore.System{Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin", Loader: ore.GRUB},
	}}
	Complete(&j)
	var names []string
	for _, w := range j.Wants.Packages {
		names = append(names, w.Name)
	}
	want := []string{"tzdata", "hello", "locales", "xfsprogs", "systemd-sysv", "kmod", "initramfs-tools", "zstd", "grub-pc", standing}
	if !slices.Equal(names, want) || j.Machines.System.Firmware != ore.BIOS {
		t.Errorf("%q, firmware %q", names, j.Machines.System.Firmware)
	}
	Complete(&j)
	if len(j.Wants.Packages) != len(want) {
		t.Errorf("the second time: %v", j.Wants.Packages)
	}
	mounted := ore.Job{Machines: ore.Machines{System: ore.System{TimeZone: "Europe/Berlin"}}}
	if Complete(&mounted); len(mounted.Wants.Packages) > 0 {
		t.Errorf("a mounted root: %v", mounted.Wants.Packages)
	}
}

// known makes images of two bytes.
type known struct{ cluster.Images }

func (known) Make(context.Context, cluster.Make, ore.Watcher) (image.Manifest, func(), error) {
	return image.Manifest{Layers: []image.Layer{{Digest: "sha256:l", Size: 2}}}, func() {}, nil
}

func (known) Have(context.Context, ore.Environment) (plan.Have, error) { return plan.Have{}, nil }

func (known) Lock(context.Context, ore.Wants, ore.Watcher) (ore.Environment, error) {
	return ore.Environment{Version: ore.EnvironmentVersion}, nil
}

// A layout that does not fit is refused before anything is resolved or made.
func TestRefusedBeforeItIsResolved(t *testing.T) {
	for size, want := range map[int64]string{9 << 30: "", 8 << 30: "machines: disk"} {
		m := ore.Machines{Root: ore.OnDisk, Resources: ore.Resources{Disk: size}, Storage: one(part(ore.Share{Bytes: 8 << 30}, "ext4", "/"))}
		d := &decider{Images: known{}, maker: Maker{Job: ore.Job{Machines: m}}}
		env, err := d.Lock(t.Context(), ore.Wants{}, nil)
		if want == "" && (err != nil || env.Version == 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d GiB: %+v, %v, want %q", size>>30, env, err, want)
		}
	}
}

// What packages take at least is known before an image is made: what no package writes to
// is no room for them.
func TestRefusedBeforeItIsMade(t *testing.T) {
	env := ore.Environment{Packages: []ore.Package{{Size: 30 << 20}}}
	small, large := part(ore.Share{Bytes: 40 << 20}, "ext4", "/"), part(rest, "ext4", "/scratch")
	for _, c := range []struct {
		mount string
		from  recipe.Strategy
		want  string
	}{{"/scratch", "", "machines: disks: "}, {"/usr", "", ""}, {"/usr", recipe.Whole, ""}, {"/usr", recipe.Base, "machines: disks: / has room"}} {
		large.Mount = c.mount
		m := ore.Machines{Root: ore.OnDisk, Resources: ore.Resources{Disk: 2 << 30}, Storage: one(small, large)}
		err := Fits(m, env, c.from)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s from %q: %v, want %q", c.mount, c.from, err, c.want)
		}
		if m.Root = ore.Mounted; Fits(m, env, c.from) != nil {
			t.Error("a machine that mounts its image has no disks to fill")
		}
	}
}

// What would be quickest is not chosen where / has no room for it while it goes on; who
// has asked for it alone gets no other.
func TestUnfitIsNotChosen(t *testing.T) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Packages: []ore.Package{{Name: "hello", Size: 30 << 20, Digest: "sha256:h"}}}
	large := part(rest, "ext4", "/usr")
	for size, want := range map[int64][]string{40 << 20: {plan.FromBase, plan.FromPackages}, 400 << 20: nil} {
		m := ore.Machines{Root: ore.OnDisk, Resources: ore.Resources{Disk: 2 << 30}, Storage: one(part(ore.Share{Bytes: size}, "ext4", "/"), large)}
		d := &decider{Images: known{}, maker: Maker{Site: opened(t, "http://mirror.example.org/debian"), Job: ore.Job{Machines: m}}}
		have, err := d.Have(t.Context(), env)
		if err != nil || !slices.Equal(have.Unfit, want) {
			t.Errorf("%d bytes for /: %q, %v", size, have.Unfit, err)
		}
		for _, only := range []string{"", plan.FromPackages} {
			p := plan.Choose(plan.Ask{Environment: env, Machines: 2}.Onto(only), have, plan.Rates{})
			there := slices.ContainsFunc(p.Options, func(o plan.Option) bool { return o.Possible && o.Strategy == plan.FromPackages })
			if there != (want == nil || only != "") {
				t.Errorf("%d bytes for /, asked for %q: it could be from packages: %v", size, only, there)
			}
		}
	}
}

// The plan decides from what machines install themselves, unless somebody has; only
// an image that they are written from is made.
func TestDecide(t *testing.T) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Manual: []string{"hello"}, Packages: []ore.Package{{Name: "hello", Size: 1, Digest: "sha256:h"}}}
	for _, c := range []struct {
		from, want recipe.Strategy
		layers     int
	}{{"", recipe.Whole, 1}, {recipe.Packages, recipe.Packages, 0}, {recipe.Base, recipe.Base, 0}, {recipe.Whole, recipe.Whole, 1}} {
		ask := plan.Ask{Environment: env, Machines: 2}.Onto(string(c.from))
		var said string
		d := &decider{Images: known{}, maker: Maker{From: c.from}}
		m, release, err := d.Make(t.Context(), cluster.Make{Environment: env, Plan: plan.Choose(ask, plan.Have{}, plan.Rates{})}, func(e ore.Event) { said = e.Text })
		if err != nil || d.maker.From != c.want || len(m.Layers) != c.layers || !strings.Contains(said, "from "+string(c.want)) {
			t.Errorf("%q: %s, %+v, %q, %v", c.from, d.maker.From, m, said, err)
		}
		release()
	}
}

// The depot gives what it was told of, in ranges too, and nothing else.
func TestDepot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "blob")
	if err := os.WriteFile(file, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := ore.DigestOf([]byte("0123456789"))
	socket := filepath.Join(dir, "s")
	depot, err := openDepot(socket, &stock{files: map[ore.Digest]string{d: file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	get := func(path, span string) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://depot"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if span != "" {
			q.Header.Set("Range", span)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, text := get("/blobs/sha256/"+d.Hex(), ""); code != http.StatusOK || text != "0123456789" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := get("/blobs/sha256/"+d.Hex(), "bytes=8-"); code != http.StatusPartialContent || text != "89" {
		t.Errorf("%d %q", code, text)
	}
	for _, path := range []string{"/", "/blobs/sha256/" + ore.DigestOf([]byte("x")).Hex(), "/packages/sha256/" + d.Hex(), "/blobs/sha256/../../etc/passwd"} {
		if code, _ := get(path, ""); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	if err := depot.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("it can be reached after its end")
	}
}

// A disk image is made later only where it alone was what lacked.
func TestBetterWithADiskImage(t *testing.T) {
	took := func(s float64) plan.Range { return plan.Range{Middle: s} }
	chosen := plan.Option{Strategy: plan.FromImage, Possible: true, Known: true, Total: took(6)}
	disk := plan.Option{Strategy: plan.FromDisk, Possible: true, Known: true, Total: took(9), Stages: []plan.Estimate{{Stage: plan.DiskImage, Seconds: took(4)}}}
	change := func(f func(*plan.Option)) plan.Option { o := disk; f(&o); return o }
	for _, c := range []struct {
		summary string
		disk    plan.Option
		want    bool
	}{
		{"it would be quicker", disk, true},
		{"it is slower", change(func(o *plan.Option) { o.Total = took(11) }), false},
		{"nobody has measured it", change(func(o *plan.Option) { o.Known = false }), false},
		{"it is there", change(func(o *plan.Option) { o.Stages = nil }), false},
		{"there can be none", change(func(o *plan.Option) { o.Strategy = plan.FromBase }), false},
	} {
		if got := better(plan.Plan{Options: []plan.Option{chosen, c.disk}}); got != c.want {
			t.Errorf("%s: %v", c.summary, got)
		}
	}
}
