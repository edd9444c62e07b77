# Imported from lucie/package.rb. What it lacks is what the machines run: add run, with a command.
environment:
    packages:
        - ssh
        - rsync
        - less
        - tcsh
        - mpich
--- left
lucie/package.rb:5: aptget_remove 'ppp': only what is asked for is installed, and what that needs
lucie/package.rb:7: %%%MPI_FLAVOR%%%: the answer to a question of a meta package stands here: name the packages
lucie/package.rb:8: system 'reboot': only the words of Lucie's files are read, and no other Ruby
