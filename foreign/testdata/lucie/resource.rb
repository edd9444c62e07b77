# A cluster of two, as of 2005
require 'lucie/config'
include Lucie::Config

host do |host|
  host.name = 'node00'
  host.alias = 'Node #00'
  host.address = '192.168.0.1'
  host.mac_address = '00:00:5E:00:53:01'
end

host do |host|
  host.name = 'node01'
  host.address = '192.168.0.2'
  host.mac_address = '00:00:5E:00:53:02'
end

host_group do |group|
  group.name = 'lab'
  group.members = [Host['node00'], Host['node01']]
end

package_server do |server|
  server.name = 'mirror'
  server.uri = 'http://192.168.0.100/debian/'
end

dhcp_server do |dhcp|
  dhcp.name = 'dhcp'
  dhcp.nis_domain_name = 'yp.example.org'
  dhcp.gateway = '192.168.0.254'
end

installer do |installer|
  installer.name = 'lab_installer'
  installer.host_group = HostGroup['lab']
  installer.kernel_package = 'kernel-image-2.4.27_i386.deb'
  installer.root_password = 'secret'
  installer.distribution = 'debian'
  installer.distribution_version = 'woody'
end
