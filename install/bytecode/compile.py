# Compiles the named modules on several processes: the first argument is their number.
# "--" ends a batch: when all of it is compiled, a line is written, and then the next
# one begins. Which process compiles a module makes no difference to what comes of it:
# each takes the next one from a pipe, the largest first. The collector of cycles is
# off, since what is thrown away after each module has none.
#
# Nothing is imported that would itself have to be compiled first: with py_compile
# and all that it needs, that is a seventh of the whole time. What is frozen into
# the interpreter does just what py_compile does with SOURCE_DATE_EPOCH set (PEP 552,
# hash-based files that are checked); where it lacks a name, py_compile is taken. A
# name behind "@" is that of a module of which an import is to be the cause: what comes
# of it has the time and the size of the source instead. What comes of the names behind
# ">FOLDER" goes there, with its path, rather than beside its source.
#
# The scripts wait for the first batch before all else. Of those behind it what else the
# build does comes first: it all has to be there before the script that asks for them.
import gc, os, sys
gc.disable()

# Whether a string is interned shows in what is written (marshal's TYPE_INTERNED), and
# of the strings that all code shares, those of one character, "*" is the one that is
# interned or not by what was compiled before (import *). After the imports of the
# script's own call it always is.
star = sys.intern("*")

try:
    from _frozen_importlib_external import _RAW_MAGIC_NUMBER, _code_to_hash_pyc, _code_to_timestamp_pyc, cache_from_source
    from _imp import source_hash

    def compile_module(folder, arg):
        name = arg.lstrip("@")
        with open(name, "rb") as f:
            source, mtime = f.read(), int(os.fstat(f.fileno()).st_mtime)
        code = compile(source, name, "exec", dont_inherit=True, optimize=-1)
        made = folder + cache_from_source(name)
        os.makedirs(os.path.dirname(made), exist_ok=True)
        if arg == name:
            pyc = _code_to_hash_pyc(code, source_hash(_RAW_MAGIC_NUMBER, source), True)
        else:
            pyc = _code_to_timestamp_pyc(code, mtime, len(source))
        with open(made, "wb") as f:
            f.write(pyc)
except ImportError:
    def compile_module(folder, name):
        import importlib.util, py_compile
        py_compile.compile(name, folder + importlib.util.cache_from_source(name), doraise=True)

batches, folder = [[]], ""
for arg in sys.argv[2:]:
    if arg == "--":
        batches.append([])
    elif arg.startswith(">"):
        folder = arg[1:]
    else:
        batches[-1].append((folder, arg))

def give_way():
    os.nice(10)
    try: # where the kernel weighs sessions first: sched(7), "The autogroup feature"
        with open("/proc/self/autogroup", "w") as f:
            f.write("10")
    except OSError:
        pass # then cores are only shared less well

for files in batches:
    if files is not batches[0]:
        give_way()
    files.sort(key=lambda file: os.stat(file[1].lstrip("@")).st_size, reverse=True)
    take, give = os.pipe()
    os.write(give, b"".join(i.to_bytes(2, "little") for i in range(len(files))))
    os.close(give)
    children = []
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        try:
            while i := os.read(take, 2):
                compile_module(*files[int.from_bytes(i, "little")])
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    os.close(take)
    if max(os.waitpid(pid, 0)[1] for pid in children) != 0:
        sys.exit(1)
    os.write(1, b"\n") # this batch is finished
