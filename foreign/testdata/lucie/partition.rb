require 'lucie/setup-harddisks/config'

target = FileTest::exists?( '/dev/sda' ) ? '/dev/sda' : '/dev/hda'

partition 'root' do | p |
  p.slice = '/dev/hda'
  p.kind = 'primary'
  p.fs = 'ext3'
  p.mount_point = '/'
  p.size = (128..4096)
  p.bootable = true
  p.fstab_option << 'errors=remount-ro'
end

partition "swap" do |part|
  part.slice = "hda"
  part.fs = "swap"
  part.mount_point = "none"
  part.size = 512
end

partition 'usr' do |p|
  p.slice = 'hda'
  p.fs = 'reiserfs'
  p.mount_point = '/usr'
  p.size = (512..9999999)   # all that is left
end
