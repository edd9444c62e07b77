// Package node is one physical host's part of a job: it keeps the layers from
// being removed, makes private disks, runs the job's network, starts machines
// and passes on what is said to them.
//
// A [Node] serves one job. It runs in a process of its own, the supervisor,
// which is the first process of a PID namespace: when it ends, by whatever
// means, everything that it started ends with it. Others reach it through
// [Node.Handler], HTTP on a Unix socket in a folder that only the owner can
// enter, and [Client]:
//
//	POST   /v1/start                       Start; answers a stream of Update
//	GET    /v1/machines                    []Started
//	GET    /v1/wire                        upgrade to a wire.Session: Launch
//	PUT    /v1/machines/NAME/files?dir=D   a tar stream into D
//	GET    /v1/machines/NAME/files?dir=D&pattern=P...   a tar stream
//	GET    /v1/machines/NAME/console       its beginning and its end; from=BYTE: what came since
//	GET    /v1/machines/NAME/dial?port=P   upgrade to a TCP connection
//	POST   /v1/publish                     ore.Port; answers ore.Port with the real address
//	PUT    /v1/trunks                      Trunks; answers Joined
//	GET    /v1/trunks?measure=1            []trunk.Stats: the links to other hosts
//	DELETE /v1/machines                    release: all machines end
//
// # Machines that install themselves
//
// With Start.Install a machine is started twice: with the installer and a blank
// disk, where the installer gets its recipe and reports (package
// node/installing), and then on what it has installed. All of them do so at
// once; what they need that no device brings comes from a depot, at the gateway.
//
// # Guarantees
//
// Start is all or nothing: if one machine of a request does not come up, the
// others of the request are ended and the error says which one, in which stage,
// with the end of its console. No machine starts from a layer whose bytes have
// not been verified since they were written. Release ends every machine and
// leaves no file. A machine that dies costs only itself.
package node
