# packages of all nodes
install( %w(ssh rsync
  less tcsh) )
aptget_install 'mpich'
aptget_remove 'ppp'
aptget_clean
install( '%%%MPI_FLAVOR%%%' )
system 'reboot'
