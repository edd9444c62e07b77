# Imported from lucie/partition.rb. What it lacks is what the machines run: add run, with a command.
# Machines that 'ore run' starts have one disk of their own, whatever it is called: leave match out for them.
machines:
    root: disk
    disks:
        - match: {path: /dev/sda}
          table: gpt
          wipe: true
          partitions:
            - size: 4G
              mount: /
              fs: ext4
            - size: 512M
              mount: swap
            - size: rest
              mount: /usr
              fs: ext4
--- left
lucie/partition.rb:3: target = FileTest::exists?( '/dev/sda' ) ? '/dev/sda' : '/de...: only the words of Lucie's files are read, and no other Ruby
lucie/partition.rb:5: ext3: ext4 is made instead
lucie/partition.rb:5: disk hda: kernels of today call it sda, or otherwise: correct match
lucie/partition.rb:10: size = (128..4096): a part has one size: the larger one is given
lucie/partition.rb:12: partition.fstab_option = errors=remount-ro: file systems are mounted with their defaults
lucie/partition.rb:22: reiserfs: ext4 is made instead
