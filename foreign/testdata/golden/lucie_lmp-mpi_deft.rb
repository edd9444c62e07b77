# Imported from lucie/lmp-mpi/deft.rb. What it lacks is what the machines run: add run, with a command.
environment: {}
--- left
lucie/lmp-mpi/deft.rb:1: template mpi/hello: questions of a meta package have no answers here
