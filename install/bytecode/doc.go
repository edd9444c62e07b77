// Package bytecode keeps what Python's compiler makes of the modules of its
// standard library. Compiling them is what the scripts of python3.X-minimal and
// python3.X do, for a third of the time that configuring takes, and nothing of it
// depends on anything but the packages: they set no time into the files where
// SOURCE_DATE_EPOCH is set (PEP 552).
//
// So the same calls are made in a tree of only these packages, beside all else,
// and what they made is kept. While scripts run, a stand-in for the interpreter
// compares the files that it is to compile with those that were compiled, name by
// name, and copies what came of it. In every other case the interpreter runs: a
// script that asks for something else gets it, and one that needs a compiled file
// finds it.
package bytecode
