// Package configure makes of a tree of packages one certain machine, and
// somebody's: what no image holds, since no two machines have it in common.
//
// # What is written
//
//	/etc/fstab                    all file systems, by UUID (fstab(5))
//	/etc/hostname, /etc/hosts     the name (hostname(5), hosts(5))
//	/etc/machine-id               emptied: the first boot writes a new one (machine-id(5))
//	/etc/ssh/ssh_host_*_key       made, where there is an SSH server
//	/etc/passwd, ~/.ssh ...       accounts, passwords and keys, by useradd(8) and chpasswd(8)
//	/etc/default/locale           the language, made by locale-gen(8), or C.UTF-8
//	/etc/localtime, /etc/timezone the zone
//	/etc/systemd/network/...      or /etc/network/interfaces, by what the packages are
//	/etc/mdadm/mdadm.conf         arrays, by UUID (mdadm.conf(5))
//
// and, if the machine is to start on its own:
//
//	/etc/initramfs-tools/conf.d/resume   where a hibernated system is, or none
//	/etc/default/grub.d/ore.cfg          the kernel's line and the serial console
//	/boot/initrd.img-*, /boot/grub       by update-initramfs(8), grub-install(8), grub-mkconfig(8)
//
// # How
//
// Files are written here; what has an order and locks of its own is done by the
// packages' programs, in the tree as their root, with the installer's devices.
// What lacks is told before anything is written, with the package that has it; so are
// zones and groups that no package has ([ore/install/fit]).
// Everything can be done again: the second time changes nothing. No service is
// started. Nothing is synced to the disk.
package configure
