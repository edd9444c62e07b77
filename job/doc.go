// Package job reads job files.
//
// A job file is YAML 1.2, and read strictly: an unknown key, a wrong type or a
// value out of its range is an error that says file:line:column, what was
// wrong, and what is allowed. All errors of a file are reported at once. Every
// key is optional but run.command or run.script:
//
//	name: blast                      # letters, digits, . _ -; at most 63
//	environment:
//	  base: debian/bookworm          # distribution/suite
//	  packages: [ncbi-blast+, "hmmer=3.3.2+dfsg-1"]
//	  repositories:
//	    - {uri: "http://...", suite: stable, components: [main], key: ./repo.asc}
//	  kernel: linux-image-amd64
//	  files: {/etc/motd: {content: hello}, /opt/db: {source: ./db, mode: 0755}}
//	  steps:
//	    # a step sees what the steps that it needs have made, and nothing of others
//	    - {name: db, needs: [], run: "makeblastdb ...", network: false}
//	machines: {count: 4, cpus: 1, memory: 256M, disk: 20G, hypervisor: auto}
//	                                 # root, disks: see below
//	network: nat                     # or isolated
//	run:
//	  command: [blastp, -version]    # or script: |
//	  mode: each                     # or first, or array
//	  tasks: {from: tasks.txt}       # or {glob: "chunks/*.fa"}, for array
//	  env: {A: b}
//	  secrets: {TOKEN: {file: ./token}}
//	  inputs:
//	    - query.fa                   # a copy in the job's folder of each machine
//	    - {source: ./db, mount: /data/db} # read-only, the same bytes for all
//	  outputs: ["*.tsv"]
//	  timeout: 2h
//	  retries: 1
//	  publish: ["127.0.0.1:8080:0:80"] # listen address : rank : port
//
// Sizes are bytes with an optional K, M, G or T (powers of 1024); times are
// Go's durations ("90s", "2h30m"). Paths are relative to the job file's folder.
//
// # RPM packages
//
// With base: rpm/NAME, where NAME is any word, packages are RPM packages and all
// come from the repositories, which are RPM repositories. Each has a key, with which
// its packages must be signed, or says that they need not be:
//
//	environment:
//	  base: rpm/tiny
//	  packages: [bash, "hello=2:1.5-3"]
//	  repositories:
//	    - {uri: "http://example.org/os/$basearch", key: ./key.asc}
//	    - {uri: "http://example.org/own", unsigned: true}
//
// There is no base set: a shell, if it is wanted, is one of the packages or comes
// with them. The package rpm says what is done with them, and what is not.
//
// # Inputs
//
// An input is a file or folder of the host. Without mount, every machine gets a
// copy in the job's folder, which it may change: right for what is small or
// written to. With mount, ore makes one read-only file system of it, which all
// machines of all jobs share, whatever its size: right for what is large. It is
// kept in the image store under the digest of its content, and made again only
// if the size or a time of a file has changed since. In machines it belongs to
// root, with the permissions that it has on the host, and without times. mount
// is an absolute path, which is made if it is not there; what an image has there
// is hidden. Each mount takes one of a machine's disks: User Mode Linux has
// room for one at least, and for five with an image of one layer; QEMU for 17.
//
// # Disks
//
// With root: disk a machine installs itself onto its disks and starts from them.
// Without a word about disks it has one, of which all is one ext4 file system,
// but for what the firmware needs to start it. Otherwise:
//
//	machines:
//	  root: disk                     # or mount, the default
//	  disks:
//	    - match: {size: ">=20G", model: "QEMU*", serial: "a*", path: /dev/sda}
//	      table: gpt                 # or mbr
//	      wipe: false                # true: what others left there may be destroyed
//	      partitions:
//	        - {mount: /, size: rest, fs: ext4, label: root}
//	        - {mount: swap, size: 512M}
//	        - {mount: /scratch, size: 20%, fs: xfs}
//	        - {size: 10G, array: md0} # a member of an array
//	        - {size: 10G, group: vg0} # a physical volume of a group
//	  arrays:
//	    - {name: md0, level: 1, mount: /data, fs: xfs} # or group: vg0
//	  volumes:
//	    - {group: vg0, name: home, size: rest, mount: /home, fs: ext4}
//
// A size in match is exact, or one of ">=20G", "<=1T" and "20G..1T". No disk is
// meant twice: none takes the only one that another can have, and a disk without
// match is the first that no other takes. What is to be percent is so of the whole
// disk or group; all that take the rest share it evenly. fs is ext4, xfs, btrfs,
// vfat or swap; label and uuid are optional. What the firmware needs is added by the
// installer where it is not described: one partition mounted on /boot/efi is the EFI
// system partition, which root alone may read; a vfat that is mounted elsewhere is
// root's, and everybody may read it. Nothing is mounted on /etc, where fstab is; /usr
// may be a file system, but not what mounts others there, such as /usr/bin. The package
// install/disk says exactly how a layout comes of it.
//
// # System
//
// What else such a machine is given, in cloud-init's words:
//
//	machines:
//	  root: disk
//	  system:
//	    users:
//	      - name: ada                # root is one, too
//	        gecos: Ada Lovelace
//	        uid: 1000                # default: the next that is free
//	        shell: /bin/bash
//	        groups: [sudo]           # they must be of a package
//	        passwd: "$6$..."         # as crypt(5) has it; default: none, so that only keys let in
//	        ssh_authorized_keys: ["ssh-ed25519 ..."]
//	    locale: de_DE.UTF-8          # default: C.UTF-8
//	    timezone: Europe/Berlin      # default: UTC
//	    network: dhcp                # or none: once the machine starts without ore
//	    loader: grub                 # so that it can do so; default: none
//	    firmware: bios               # or uefi: what it does so with
//
// Packages that this needs are added to the environment: a kernel and GRUB for
// loader, locales for locale, tzdata for timezone, and the programs of the file
// systems, arrays and volumes that are described.
//
// The format is this package's own affair: [Parse] gives an [ore.Job], which
// carries no tags, and [Check] holds for jobs from flags as well.
package job
