package preseed

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/foreign/draft"
)

// million is partman's unit: its megabytes are those of disk makers. A million of
// them is what many write for "as large as you like".
const million = 1000 * 1000

// disks makes a layout of what is said about partman. Recipes that the installer
// has itself have names; a recipe of the file's own is read.
func (r *reader) disks(p *draft.Place) {
	r.keep()
	method := r.value("partman-auto/method")
	if method == "" {
		for _, question := range together {
			if a, ok := r.answers[question]; ok && strings.HasPrefix(question, "partman-") && r.value(question) != "" {
				a.at.Leave(question, "without partman-auto/method the installer would ask: describe it under machines, disks")
			}
		}
		return
	}
	at := r.place("partman-auto/method", p)
	r.OnDisk = true
	if method != "regular" && method != "lvm" {
		at.Leave("partman-auto/method "+method, "only regular and lvm are carried over: describe disks, arrays and volumes under machines")
		return
	}
	device := ""
	if d := strings.Fields(r.value("partman-auto/disk")); len(d) > 0 {
		if device = d[0]; len(d) > 1 {
			r.place("partman-auto/disk", p).Leave(strings.Join(d[1:], " "), "only the first disk is used without an array")
		}
	}
	recipe := r.value("partman-auto/expert_recipe")
	if recipe == "" {
		recipe = known(r.value("partman-auto/choose_recipe"), r.place("partman-auto/choose_recipe", p))
	} else {
		at = r.place("partman-auto/expert_recipe", p)
	}
	l := layout{at: at, device: device, group: "vg", lvm: method == "lvm"}
	if l.lvm && r.value("partman-auto-lvm/new_vg_name") != "" {
		l.group = draft.Name(r.value("partman-auto-lvm/new_vg_name"))
	}
	l.recipe(recipe)
	if d := at.Disk(device); d != nil {
		d.Wipe = true // partman-auto takes the whole disk, whatever it holds, unless told to keep it
		for _, question := range []string{"partman-partitioning/default_label", "partman-partitioning/choose_label"} {
			switch label := r.value(question); label {
			case "", "gpt":
			case "msdos":
				d.Table = ore.MBR
			default:
				r.place(question, p).Leave(question+" "+label, "tables are gpt and mbr: gpt is used")
			}
		}
	}
}

// keeping are the answers that have the installer stop, or leave alone what disks hold.
var keeping = map[string]string{
	"partman-auto/init_automatically_partition": "biggest_free",
	"partman-auto/purge_lvm_from_device":        "false",
	"partman-auto/confirm":                      "false",
	"partman-auto-lvm/confirm":                  "false",
	"partman-lvm/confirm":                       "false",
	"partman-lvm/confirm_nooverwrite":           "false",
	"partman-lvm/device_remove_lvm":             "false",
	"partman-lvm/device_remove_lvm_span":        "false",
	"partman-md/confirm":                        "false",
	"partman-md/confirm_nooverwrite":            "false",
	"partman-md/device_remove_md":               "false",
	"partman/confirm":                           "false",
	"partman/confirm_nooverwrite":               "false",
}

func (a answer) keeps() bool {
	value, ok := keeping[a.question]
	return ok && value == a.value
}

// keep notes what such an answer keeps, of whatever disk.
func (r *reader) keep() {
	for _, a := range r.order {
		if a.keeps() {
			a.at.Keep("", a.question+" "+a.value)
		}
	}
}

// known returns the installer's own recipes, as far as what they mount goes.
func known(name string, at *draft.Place) string {
	root := "r :: 900 10000 -1 ext4 method{ format } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } $lvmok{ } . "
	swap := "100% 512 200% linux-swap method{ swap } $lvmok{ } ."
	switch name {
	case "home":
		return "r :: 900 4000 20000 ext4 mountpoint{ / } filesystem{ ext4 } $lvmok{ } . 512 1000 2000 linux-swap method{ swap } $lvmok{ } . 100 10000 -1 ext4 mountpoint{ /home } filesystem{ ext4 } $lvmok{ } ."
	case "multi":
		return "r :: 600 4000 15000 ext4 mountpoint{ / } filesystem{ ext4 } $lvmok{ } . 416 2000 10000 ext4 mountpoint{ /var } filesystem{ ext4 } $lvmok{ } . " +
			"512 1000 2000 linux-swap method{ swap } $lvmok{ } . 100 500 2000 ext4 mountpoint{ /tmp } filesystem{ ext4 } $lvmok{ } . 100 10000 -1 ext4 mountpoint{ /home } filesystem{ ext4 } $lvmok{ } ."
	}
	if name != "" && !strings.Contains(name, "atomic") {
		at.Leave("partman-auto/choose_recipe "+name, "this recipe is not known here: the one called atomic is taken")
	}
	return root + swap
}

// layout is what a recipe becomes.
type layout struct {
	at     *draft.Place
	device string
	group  string
	lvm    bool
	member bool // the group has a partition
}

// recipe reads what partman-auto's documentation calls a recipe: a name, two
// colons, then for each partition the least size, a priority, the largest size
// and a file system, and fields in braces, up to a period.
func (l *layout) recipe(text string) {
	_, body, ok := strings.Cut(text, "::")
	if !ok {
		body = text
	}
	words := strings.Fields(body)
	for len(words) > 0 {
		end := 0
		for end < len(words) && words[end] != "." {
			end++
		}
		l.partition(words[:end])
		words = words[min(end+1, len(words)):]
	}
	if l.lvm && !l.member && len(l.at.Storage.Volumes) > 0 {
		l.at.Partition(l.device, ore.Partition{Size: ore.Share{Rest: true}, Group: l.group})
	}
}

// fields reads name{ value } and name{ }.
func fields(words []string) map[string]string {
	f := map[string]string{}
	for i := 0; i < len(words); i++ {
		name, first, ok := strings.Cut(words[i], "{")
		if !ok {
			continue
		}
		var value []string
		if first = strings.TrimSuffix(first, "}"); first != "" {
			value = append(value, first)
		}
		if !strings.HasSuffix(words[i], "}") {
			for i++; i < len(words) && words[i] != "}"; i++ {
				value = append(value, words[i])
			}
		}
		f[name] = strings.Join(value, " ")
	}
	return f
}

func (l *layout) partition(words []string) {
	if len(words) < 4 {
		if len(words) > 0 {
			l.at.Leave(strings.Join(words, " "), "a partition of a recipe is: least priority largest file-system")
		}
		return
	}
	f := fields(words[4:])
	size := l.size(words[0], words[2], f["mountpoint"])
	l.rest(f)
	fs := f["filesystem"]
	if fs == "" {
		fs = words[3]
	}
	switch method := f["method"]; {
	case method == "biosgrub" || method == "efi" || words[3] == "free":
		return // the layout adds what the firmware needs
	case method == "lvm":
		if name := f["vg_name"]; name != "" {
			l.group = draft.Name(name)
		}
		l.member = true
		l.at.Partition(l.device, ore.Partition{Size: size, Group: l.group})
		return
	case method == "keep":
		l.at.Keep(l.device, strings.Join(words[:4], " ")+" method{ keep }")
		return
	case method == "raid" || method == "crypto":
		l.at.Leave("method "+method, "describe it under machines, arrays")
		return
	case method == "swap" || words[3] == "linux-swap":
		fs = "swap"
	case f["mountpoint"] == "":
		l.at.Leave(strings.Join(words[:4], " "), "it is not mounted")
		return
	}
	made := l.at.FileSystem(draft.Part{Mount: f["mountpoint"], FS: fs, Label: f["label"]})
	_, volume := f["lv_name"]
	_, may := f["$lvmok"]
	if !l.lvm || !volume && !may {
		l.at.Partition(l.device, ore.Partition{Size: size, FileSystem: made})
		return
	}
	name := f["lv_name"]
	if name == "" {
		if name = strings.Trim(strings.ReplaceAll(f["mountpoint"], "/", "_"), "_"); name == "" {
			name = map[bool]string{true: "swap", false: "root"}[fs == "swap"]
		}
	}
	if g := f["in_vg"]; g != "" {
		l.group = draft.Name(g)
	}
	l.at.Storage.Volumes = append(l.at.Storage.Volumes, ore.Volume{Group: l.group, Name: draft.Name(name), Size: size, FileSystem: made})
}

// rest notes fields that nothing is made of.
func (l *layout) rest(f map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		switch {
		case strings.HasPrefix(name, "options/"):
			l.at.Leave(name+" of "+f["mountpoint"], "file systems are mounted with their defaults")
		case !slices.Contains(read[:], name):
			l.at.Leave(name+"{ "+f[name]+" } of "+f["mountpoint"], "there is nothing like it in a job file")
		}
	}
}

// read are the fields that something is made of, or that ask for nothing that is
// not so anyway: all partitions are primary ones, and made anew.
var read = [...]string{"method", "format", "use_filesystem", "filesystem", "mountpoint", "label", "vg_name", "lv_name", "in_vg",
	"$primary", "$bootable", "$lvmok", "$iflabel", "$reusemethod", "$defaultignore", "$gptonly", "$lvmignore"}

// size makes a share of a recipe's bounds, between which partman divides by
// priorities.
func (l *layout) size(least, largest, mount string) ore.Share {
	from, to := megabytes(least), megabytes(largest)
	switch {
	case strings.HasPrefix(largest, "-") || to >= million*million:
		return ore.Share{Rest: true}
	case from == to && from > 0:
		return draft.Bytes(from)
	case to > 0:
		l.at.Leave(strings.TrimSpace("size "+least+" to "+largest+" MB "+mount), "partman divides between these by priorities: the larger one is given")
		return draft.Bytes(to)
	}
	l.at.Leave(strings.TrimSpace("size "+largest+" "+mount), "how much memory a machine will have is not known here: 1G is given")
	return ore.Share{Bytes: 1 << 30}
}

// megabytes returns bytes, 0 for what is no number, as percentages of memory.
func megabytes(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 40)
	if err != nil || n < 0 {
		return 0
	}
	return min(n, 1<<40) * million
}
