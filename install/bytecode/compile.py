# Compiles the named modules on several processes: the first argument is their
# number. Which process compiles a module makes no difference to what comes of it:
# each takes the next one from a pipe, the largest first. The collector of cycles is
# off, since what is thrown away after each module has none.
import gc, os, py_compile, sys, traceback
gc.disable()
files = sorted(sys.argv[2:], key=os.path.getsize, reverse=True)
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
            py_compile.compile(files[int.from_bytes(i, "little")], doraise=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
sys.exit(max(os.waitpid(pid, 0)[1] != 0 for pid in children))
