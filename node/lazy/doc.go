// Package lazy shows files that are still coming: a folder in which a machine's
// layers stand before all of their bytes are on the host. Who reads what is not
// there yet waits for it; nobody sees a byte that was not verified.
//
// The folder is a file system of the kernel's FUSE (Documentation/filesystems/
// fuse.rst in Linux). A hypervisor opens its files like any others, which is why
// it was chosen: User Mode Linux and QEMU need to know nothing of it, neither do
// their drivers, and no root is needed. Who mounts it needs a mount namespace of
// its own, which a job's supervisor has (package namespace), and hands the device
// over to the process that knows what has come, the host's agent, before it
// starts anything. So the folder is seen by the job's processes alone, ends with
// the last of them, and what serves it never looks into it: a process that waited
// for itself could not be killed. Where /dev/fuse cannot be opened there is no
// folder, and machines wait for whole layers.
//
// # What is read first
//
// The folder notes what was read, in order ([Touched]). That is how it becomes
// known which blocks a boot and a job's first seconds need: of all ways (the page
// cache's residency by mincore(2) after a run, a trace of block requests, fanotify)
// it is the only one that works while the cache is warm from the bytes' arrival, as
// it always is, sees what was read and not what somebody else had read before,
// and asks for no privilege. The ranges are those of the kernel's read-ahead, which
// is what the next machine will ask for as well.
//
// Reading through the folder costs more than reading a file: each first read of a
// page goes through this process. [Touched] says how long that took, so that it can
// be held against what is gained. Read once, pages are the kernel's, and shared by
// all machines of the job.
package lazy
