package preseed

import (
	"slices"
	"strings"
)

// spared are answers that only spare the installer a question, since what they
// ask for is so anyway, or is no matter of the machine. Each has the values for
// which that holds; none means any.
var spared = map[string][]string{
	"apt-setup/cdrom/set-double":                   {"false"},
	"apt-setup/cdrom/set-failed":                   {"false"},
	"apt-setup/cdrom/set-first":                    {"false"},
	"apt-setup/cdrom/set-next":                     {"false"},
	"apt-setup/disable-cdrom-entries":              {},
	"apt-setup/use_mirror":                         {"true"},
	"auto-install/enable":                          {},
	"base-installer/install-recommends":            {"false"},
	"cdrom-detect/eject":                           {},
	"clock-setup/ntp":                              {"false"},
	"clock-setup/utc":                              {"true"},
	"debconf/frontend":                             {},
	"debconf/priority":                             {},
	"debian-installer/allow_unauthenticated":       {"false"},
	"debian-installer/exit/always_halt":            {"false"},
	"debian-installer/exit/halt":                   {"false"},
	"debian-installer/exit/poweroff":               {"false"},
	"finish-install/reboot_in_progress":            {},
	"grub-installer/bootdev":                       {"default"},
	"grub-installer/only_debian":                   {},
	"grub-installer/skip":                          {"false"},
	"grub-installer/with_other_os":                 {},
	"hw-detect/load_firmware":                      {"false"},
	"mirror/country":                               {},
	"mirror/protocol":                              {},
	"mirror/udeb/components":                       {},
	"mirror/udeb/suite":                            {},
	"netcfg/choose_interface":                      {"auto"},
	"netcfg/link_wait_timeout":                     {},
	"netcfg/dhcp_timeout":                          {},
	"netcfg/dhcpv6_timeout":                        {},
	"partman/choose_partition":                     {"finish"},
	"partman/confirm":                              {"true"},
	"partman/confirm_nooverwrite":                  {"true"},
	"partman/confirm_write_new_label":              {"true"},
	"partman/default_filesystem":                   {"ext4"},
	"partman/mount_style":                          {"uuid"},
	"partman/unmount_active":                       {},
	"partman-auto/confirm":                         {"true"},
	"partman-auto/purge_lvm_from_device":           {"true"},
	"partman-auto-lvm/confirm":                     {"true"},
	"partman-auto-lvm/guided_size":                 {"max", "100%"},
	"partman-auto-raid/confirm":                    {"true"},
	"partman-basicfilesystems/no_swap":             {},
	"partman-efi/non_efi_system":                   {"false"},
	"partman-lvm/confirm":                          {"true"},
	"partman-lvm/confirm_nooverwrite":              {"true"},
	"partman-lvm/device_remove_lvm":                {"true"},
	"partman-lvm/device_remove_lvm_span":           {"true"},
	"partman-md/confirm":                           {"true"},
	"partman-md/confirm_nooverwrite":               {"true"},
	"partman-md/device_remove_md":                  {"true"},
	"partman-partitioning/confirm_write_new_label": {"true"},
	"partman-partitioning/confirm_new_label":       {"true"},
	"passwd/make-user":                             {"true", "false"},
	"passwd/root-login":                            {"true", "false"},
	"passwd/root-password-again":                   {},
	"passwd/user-password-again":                   {},
	"pkgsel/run_tasksel":                           {},
	"tasksel/skip-tasks":                           {},
}

// spares says whether nothing is to be made of an answer. One for the installer
// that has no value asks for nothing.
func (r *reader) spares(a answer) bool {
	if a.value == "" && a.owner == "d-i" {
		return true
	}
	switch values, ok := spared[a.question]; {
	case a.keeps():
		return true // of which keep tells
	case ok && (len(values) == 0 || slices.Contains(values, a.value)):
		return true
	case a.question == "grub-installer/bootdev":
		return a.value == r.answers["partman-auto/disk"].value
	case a.question == "debian-installer/language" || a.question == "debian-installer/country":
		return names(r.answers["debian-installer/locale"].value, a)
	}
	return false
}

// names says whether a locale, language_COUNTRY with a character set or without one,
// has the language or the country of an answer, so that this needs no word beside it.
func names(locale string, a answer) bool {
	locale, _, _ = strings.Cut(locale, ".")
	locale, _, _ = strings.Cut(locale, "@")
	language, country, _ := strings.Cut(locale, "_")
	if a.question == "debian-installer/country" {
		return a.value == country
	}
	return a.value == language || a.value == locale
}

// why returns the reason for which an answer to a question of the installer has no
// place in a job file, and whether it is one that is known.
func why(question string) (string, bool) {
	for _, w := range reasons {
		for _, prefix := range strings.Fields(w.questions) {
			if question == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(question, prefix) {
				return w.why, true
			}
		}
	}
	return "", false
}

// reasons are those of whole sections, and before them those of single questions.
var reasons = [...]struct{ why, questions string }{
	{"how the kernel is started is the installer's affair", "debian-installer/add-kernel-opts grub-installer/ lilo-installer/ nobootloader/ partman-efi/"},
	{"name it by debian-installer/locale", "debian-installer/language debian-installer/country"},
	{"a machine starts from its disk once it is installed", "debian-installer/exit/halt debian-installer/exit/poweroff debian-installer/exit/always_halt"},
	{"packages come from the Debian mirror of the site, which is proved by its signatures", "debian-installer/allow_unauthenticated"},
	{"what packages recommend is not installed: name it", "base-installer/install-recommends"},
	{"a machine's clock is its host's", "clock-setup/"},
	{"machines of a job have a network of their own, where they are called m0, m1 ...", "netcfg/"},
	{"the mirror is the site's: see --mirror", "mirror/"},
	{"a job's machine has no keyboard", "keyboard-configuration/ console-setup/ console-keymaps-at/ console-tools/"},
	{"further repositories of a job need the key that signs them: describe them under repositories", "apt-setup/"},
	{"add further languages to /etc/locale.gen in the step locale", "localechooser/"},
	{"describe it under machines, disks", "partman/alignment partman-auto/ partman-auto-lvm/ partman-auto-raid/ partman-auto-crypto/ partman-crypto/ partman-basicfilesystems/ partman-partitioning/"},
	{"it runs in the installer, before there is a system", "preseed/ partman/early_command"},
	{"what is installed is the newest of the suite, and stays so", "pkgsel/"},
	{"there is nothing like it in a job file", "passwd/"},
	{"it belongs to the installer itself", "network-console/ rescue/ mirror-settings/ load-cdrom/ finish-install/ cdrom-detect/ debian-installer/ debconf/ hw-detect/ anna/ auto-install/ " +
		"tasksel/ base-installer/ prebaseconfig/ partman/ partman-lvm/ partman-md/"},
}
