package recipe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"ore"
	"ore/image"
)

// Limits of a recipe, each with its reason.
const (
	// maxSeed is what an identity may take; a digest and a rank are less.
	maxSeed = 256
	// maxSources is more ways to one blob than anybody waits for.
	maxSources = 64
)

var (
	// hostName is a label of RFC 1123, section 2.1, or several, with dots between.
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	// console is a serial line of the kernel's (Documentation/admin-guide/serial-console.rst).
	console = regexp.MustCompile(`^[a-zA-Z]{1,15}[0-9]{1,3}(,[0-9]{2,7}[noe]?[5-8]?)?$`)
	// blockName is a name of an array, a group or a volume (lvm(8)), without
	// hyphens, which device-mapper doubles.
	blockName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.]{0,30}$`)
	// identifier is a UUID, or what FAT has of one.
	identifier = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9A-F]{4}-[0-9A-F]{4})$`)
	// label is printable, and no option.
	label = regexp.MustCompile(`^[!-,.0-~][ -.0-~]*$`)
	// account is a user's or group's name (adduser(8)).
	account = regexp.MustCompile(`^[a-z_][-a-z0-9_]{0,31}$`)
	// named is a locale or a time zone.
	named = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_+.@]*(/[A-Za-z][-A-Za-z0-9_+]*){0,2}$`)
)

// Check says what is wrong with a recipe: what could not be carried out, or
// would mean something else than it says.
func (c Recipe) Check() error {
	for _, check := range []func() error{c.checkSelf, c.checkWay, c.checkBlobs, c.checkStorage, c.checkUsers} {
		if err := check(); err != nil {
			return fmt.Errorf("recipe: %w", err)
		}
	}
	return nil
}

func (c Recipe) checkSelf() error {
	s := c.System
	switch {
	case c.Version != Version:
		return fmt.Errorf("version %d, this installer reads %d: use ore and installer of one version", c.Version, Version)
	case !hostName.MatchString(c.Name) || len(c.Name) > 253:
		return fmt.Errorf("name %.80q: not a host's name: use a-z, 0-9, - and dots between labels", c.Name)
	case c.Seed == "" || len(c.Seed) > maxSeed:
		return fmt.Errorf("seed of %d bytes: use 1 to %d", len(c.Seed), maxSeed)
	case c.Console != "" && !console.MatchString(c.Console):
		return fmt.Errorf("console %.40q: not a serial line: use one such as ttyS0,115200", c.Console)
	case c.Begun != "" && c.Begun.Hex() == "":
		return fmt.Errorf("begun by %.80q: not a digest", c.Begun)
	case c.Begun != "" && c.Finished() != nil:
		return errors.New("begun by another recipe, with an image that is finished: what an image has cannot go on: leave it out")
	case s.Locale != "" && (!named.MatchString(s.Locale) || strings.Contains(s.Locale, "/")):
		return fmt.Errorf("locale %.40q: not a locale's name: use one such as de_DE.UTF-8", s.Locale)
	case s.TimeZone != "" && !named.MatchString(s.TimeZone) || strings.Contains(s.TimeZone, ".."):
		return fmt.Errorf("time zone %.40q: not a zone of tzdata: use one such as Europe/Berlin", s.TimeZone)
	case !slices.Contains([]ore.Setup{"", ore.DHCP, ore.NoNet}, s.Network):
		return fmt.Errorf("network %.40q: use dhcp or none", s.Network)
	case s.Loader != ore.NoLoader && s.Loader != ore.GRUB:
		return fmt.Errorf("loader %.40q: use grub, or none", s.Loader)
	case !slices.Contains([]ore.Firmware{"", ore.BIOS, ore.UEFI}, s.Firmware):
		return fmt.Errorf("firmware %.40q: use bios or uefi", s.Firmware)
	case (s.Firmware == "") != (s.Loader == ore.NoLoader):
		return fmt.Errorf("loader %q with firmware %q: one needs the other: give both, or none", s.Loader, s.Firmware)
	}
	return nil
}

func (c Recipe) checkWay() error {
	switch {
	case !slices.Contains([]Strategy{Whole, Base, Packages, Disk}, c.Strategy):
		return fmt.Errorf("strategy %.40q: use image, base, packages or disk", c.Strategy)
	case c.Environment.Version != ore.EnvironmentVersion || len(c.Environment.Packages) == 0:
		return fmt.Errorf("environment of version %d with %d packages: a lock of version %d has some", c.Environment.Version, len(c.Environment.Packages), ore.EnvironmentVersion)
	case (c.Strategy == Packages) != (c.Image == nil):
		return fmt.Errorf("strategy %s and image do not fit: packages has none, the others have one", c.Strategy)
	case (c.Strategy == Disk) != (c.Disk != nil) || c.Disk != nil && c.Finished() == nil:
		return fmt.Errorf("strategy %s and disk image do not fit: disk has one, of a finished image, and the others have none", c.Strategy)
	case c.Image == nil && c.Partial:
		return errors.New("partial without an image: give one")
	case c.Finished() != nil && c.Image.Key != c.Environment.Key():
		return fmt.Errorf("image of the environment %s, not %s: set Partial", c.Image.Key.Short(), c.Environment.Key().Short())
	case c.Finished() == nil && len(c.Archive) == 0:
		return errors.New("packages are to be installed, and no archive has them: give one")
	case len(c.Archive) > maxSources:
		return fmt.Errorf("%d archives: use %d at most", len(c.Archive), maxSources)
	}
	if c.Capture != "" && (c.Capture != Stay && !web(c.Capture) || c.Finished() != nil) {
		return fmt.Errorf("capture to %.120q: use an http address or %q, and only where packages are installed", c.Capture, Stay)
	}
	for _, a := range c.Archive {
		kind, address, _ := strings.Cut(a, ":")
		if kind != "proxy" && kind != "mirror" || !web(address) {
			return fmt.Errorf("archive %.120q: use proxy: or mirror: and an http address", a)
		}
	}
	if c.Disk != nil {
		if err := c.Disk.Check(); err != nil {
			return err
		}
	}
	if c.Image == nil {
		return nil
	}
	b, err := json.Marshal(c.Image) // as it came, with its version
	if err == nil {
		_, err = image.DecodeManifest(b)
	}
	return err
}

func web(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func (c Recipe) checkBlobs() error {
	type blob struct {
		digest ore.Digest
		size   int64
	}
	var need []blob
	if c.Disk != nil {
		need = append(need, blob{c.Disk.Layer.Digest, c.Disk.Layer.Size})
	}
	if c.Image != nil && (c.Disk == nil || c.Pourable()) {
		for _, l := range c.Image.Layers {
			need = append(need, blob{l.Digest, l.Size})
		}
	}
	if c.Finished() == nil {
		for _, f := range c.Environment.Files {
			if f.Digest != "" {
				need = append(need, blob{f.Digest, f.Size})
			}
		}
		for _, s := range c.Environment.Sources {
			if s.Key != "" {
				need = append(need, blob{s.Key, c.Blobs[s.Key].Size}) // which the lock does not say
			}
		}
	}
	for _, n := range need {
		b, ok := c.Blobs[n.digest]
		if !ok || len(b.From) == 0 || len(b.From) > maxSources || b.Size != n.size {
			return fmt.Errorf("blob %s of %d bytes: of %d bytes, from %d sources: give it at least one, and %d at most", n.digest.Short(), n.size, b.Size, len(b.From), maxSources)
		}
	}
	for d, b := range c.Blobs {
		if d.Hex() == "" || b.Size < 0 {
			return fmt.Errorf("blob %.80q of %d bytes: not a digest and a size", d, b.Size)
		}
		for _, f := range b.From {
			if !(path.IsAbs(f) && path.Clean(f) == f) && !web(f) {
				return fmt.Errorf("blob %s from %.120q: use an absolute path or an http address", d.Short(), f)
			}
		}
	}
	return nil
}

// checkStorage looks at what becomes arguments and paths. Whether all fits
// together is seen when the layout is computed.
func (c Recipe) checkStorage() error {
	var all []ore.FileSystem
	names := map[string]bool{}
	for _, d := range c.Storage.Disks {
		if !slices.Contains([]ore.Table{"", ore.GPT, ore.MBR}, d.Table) || len(d.Partitions) == 0 {
			return fmt.Errorf("disk with table %.20q and %d partitions: use gpt or mbr, and one at least", d.Table, len(d.Partitions))
		}
		for _, p := range d.Partitions {
			names[p.Array], names[p.Group] = true, true
			all = append(all, p.FileSystem)
		}
	}
	for _, a := range c.Storage.Arrays {
		names[a.Name], names[a.Group] = true, true
		all = append(all, a.FileSystem)
	}
	for _, v := range c.Storage.Volumes {
		names[v.Group], names[v.Name] = true, true
		all = append(all, v.FileSystem)
	}
	delete(names, "")
	for n := range names {
		if !blockName.MatchString(n) || n == "." || n == ".." {
			return fmt.Errorf("name %.80q of an array, group or volume: use letters, digits, _ and .", n)
		}
	}
	for _, f := range all {
		if err := checkFileSystem(f); err != nil {
			return err
		}
	}
	root := func(f ore.FileSystem) bool { return f.Mount == "/" && f.FS != "vfat" }
	if !c.Storage.Empty() && !slices.ContainsFunc(all, root) {
		return errors.New("disks are described, but no file system with owners is mounted on /: add one")
	}
	return nil
}

func checkFileSystem(f ore.FileSystem) error {
	switch {
	case !slices.Contains([]string{"", "ext4", "xfs", "btrfs", "vfat", "swap"}, f.FS):
		return fmt.Errorf("file system %.40q: use ext4, xfs, btrfs, vfat or swap", f.FS)
	case f.Mount != "" && (f.FS == "" || f.FS == "swap" || !path.IsAbs(f.Mount) || path.Clean(f.Mount) != f.Mount || strings.ContainsAny(f.Mount, "\x00\n")):
		return fmt.Errorf("mount %.80q of %s: use an absolute path without . or ..", f.Mount, f.FS)
	case f.Label != "" && !label.MatchString(f.Label):
		return fmt.Errorf("label %.80q: use printable characters but /, and no - first", f.Label)
	case f.UUID != "" && !identifier.MatchString(f.UUID):
		return fmt.Errorf("uuid %.80q: malformed", f.UUID)
	}
	return nil
}

func (c Recipe) checkUsers() error {
	for _, u := range c.System.Users {
		switch {
		case !account.MatchString(u.Name):
			return fmt.Errorf("user %.80q: not an account's name", u.Name)
		case u.UID < 0 || u.UID > 1<<31-2:
			return fmt.Errorf("user %s: uid %d: not a number of a user", u.Name, u.UID)
		case strings.ContainsAny(u.Gecos+u.Password, ":\n\x00"):
			return fmt.Errorf("user %s: gecos or password with a colon or a line's end: leave it out", u.Name)
		case u.Shell != "" && (!path.IsAbs(u.Shell) || strings.ContainsAny(u.Shell, ": \n\x00")):
			return fmt.Errorf("user %s: shell %.80q: use an absolute path", u.Name, u.Shell)
		}
		for _, g := range u.Groups {
			if !account.MatchString(g) {
				return fmt.Errorf("user %s: group %.80q: not a group's name", u.Name, g)
			}
		}
		for _, k := range u.Keys {
			if strings.ContainsAny(k, "\n\r\x00") {
				return fmt.Errorf("user %s: a key with a line's end: give one a line", u.Name)
			}
		}
	}
	return nil
}
