// Package bytecode keeps what Python's compiler makes of the modules of its
// standard library. Compiling them is what the scripts of python3.X-minimal and
// python3.X do, for a third of the time that configuring takes, and nothing of it
// depends on anything but the packages: they set no time into the files where
// SOURCE_DATE_EPOCH is set (PEP 552).
//
// So the same modules are compiled in a tree of the interpreter and the modules
// alone, beside all else and on all cores, and what came of it is kept, compressed
// as layers are. The compiler's own program is not what compiles them: it is called
// as a library by processes that share the modules out (compile.py). That makes the
// same bytes: what comes of a module depends on nothing but its source.
// They write into a folder that the scripts' tree does not see before a call is finished;
// then it becomes, by its name alone, what the stand-in copies. Calls behind the first
// give way to all else that the build does.
//
// While scripts run, a stand-in for the interpreter compares the files that it is to
// compile with those that are compiled, name by name, waits for them, and copies what
// came of it. In every other case the interpreter runs: a script that asks for
// something else gets it, and one that needs a compiled file finds it. py3compile, by
// which scripts have the rest compiled, is stood in for in the same way where python3's
// own packages call it.
package bytecode
