# What dnf does for ore. It reads one JSON value, the order, from its standard
# input and writes JSON values, one a line, to its standard output. It runs in the
# tree of programs (package tools), with the tree that is made at order["root"].
import json
import os
import sys

say = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what scriptlets print is no message


def tell(**message):
    say.write(json.dumps(message) + "\n")
    say.flush()


def base_of(order):
    import dnf
    base = dnf.Base()
    c = base.conf
    c.installroot = order["root"]
    c.cachedir, c.persistdir, c.logdir = "/tmp/cache", "/tmp/persist", "/tmp/log"
    for d in (c.cachedir, c.persistdir, c.logdir):
        os.makedirs(d, exist_ok=True)
    c.reposdir, c.pluginpath, c.plugins = [], [], False
    c.substitutions["arch"] = c.substitutions["basearch"] = "x86_64"
    c.substitutions["releasever"] = "0"
    c.module_platform_id = ""
    c.install_weak_deps = False
    c.best = True
    c.gpgcheck = c.localpkg_gpgcheck = False  # rpmkeys has checked them
    return base


def resolve(order):
    base = base_of(order)
    for i, r in enumerate(order["repositories"]):
        base.repos.add_new_repo(r, base.conf, baseurl=["file:///in/repos/" + r],
                                skip_if_unavailable=False, metadata_expire=0, priority=i + 1)
    base.fill_sack(load_system_repo=False)
    import dnf.exceptions
    for w in order["wishes"]:
        try:
            base.install(w)
        except dnf.exceptions.MarkingError:
            tell(missing=w)
            return
    try:
        base.resolve()
    except dnf.exceptions.DepsolveError as e:
        tell(conflict=str(e))
        return
    out = []
    for p in base.transaction.install_set:
        kind, value = p.returnIdSum()
        out.append({"name": p.name, "version": p.evr, "arch": p.arch, "path": p.location,
                    "base": p.baseurl or "", "repository": p.repoid, "size": p.downloadsize,
                    "kind": kind, "hash": value})
    tell(packages=out)


def install(order):
    base = base_of(order)
    base.fill_sack(load_system_repo=True)
    packages = base.add_remote_rpms(["/in/packages/" + f for f in order["files"]], strict=True)
    epoch = max(p.buildtime for p in packages)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)  # rpm's time of installing
    for p in packages:
        base.package_install(p, strict=True)
    base.resolve(allow_erasing=False)

    import dnf.callback

    class Progress(dnf.callback.TransactionProgress):
        last = None

        def progress(self, package, action, ti_done, ti_total, ts_done, ts_total):
            if ts_done and ts_done != self.last:
                self.last = ts_done
                tell(installing=str(package), done=ts_done, total=ts_total)

        def error(self, message):
            tell(note=message)

        def scriptout(self, msgs):
            if isinstance(msgs, bytes):
                msgs = msgs.decode(errors="replace")
            for m in (msgs or "").splitlines():
                tell(output=m)

    base.do_transaction(display=Progress())
    base.close()
    tell(epoch=epoch)
    tell(installed=installed(order["root"]))
    settle(os.path.join(order["root"], "var/lib/rpm/rpmdb.sqlite"))


# settle brings all of the database into the one file, without what depends on the
# order of writing.
def settle(path):
    import sqlite3
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=DELETE")
    db.execute("VACUUM")
    db.close()


def installed(root):
    import rpm
    ts = rpm.TransactionSet(root)
    ts.setVSFlags(-1)
    out = []
    for h in ts.dbMatch():
        evr = "%s-%s" % (h["version"], h["release"])
        if h["epoch"]:
            evr = "%d:%s" % (h["epoch"], evr)
        out.append("%s=%s:%s" % (h["name"], evr, h["arch"]))
    ts.closeDB()
    return sorted(out)


order = json.load(sys.stdin)
{"resolve": resolve, "install": install}[order["do"]](order)
