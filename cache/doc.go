// Package cache keeps the images of a site and finds them again.
//
// A cache is a folder: the blobs of an [image.Store], and metadata in SQLite
// (images.db, see schema.sql) that says which image holds which packages. It finds
// and keeps; it does not decide what to use (package plan does) and does not build
// (package install does): the builder comes in as a function.
//
// # Finding
//
// [Cache.Find] gives the image of a key, [Cache.Acquire] holds it too, and
// [Cache.Candidates] gives those that have most in common with an environment, in
// any order of packages or layers. For that there are files beside the database: an
// index (package index), which is written again after some dozen registrations, and
// what came since, which is published as long as it is true (package catalog). A
// process that has just started asks them, and does not open the database.
// [Cache.Serving] gives the image that
// serves a wish, which [Cache.Replace] switches to a refreshed one at once.
//
// # Keeping
//
// An image is listed only after all its blobs are in the store, and blobs are
// deleted only by the transaction that also looks whether a listed image has
// them. Requests for one key at once, from any number of processes, lead to one
// build: the others wait for it and hear how it goes, and if the builder dies the
// next of them takes over ([Cache.Share], package flight). An image that somebody
// holds ([image.Store.Hold]) is not removed. Space is reserved before it is
// written ([Cache.Reserve]); if need be the least valuable images go (package
// evict), never one that is held or pinned.
//
// # Trust
//
// Manifests are signed by whoever registers them, and the signature stands beside
// the entry. What somebody else made is taken only from a trusted key, if there are
// any, and a strict cache finds nothing else ([Cache.Check]).
// [Cache.VerifyAll] reads everything again and moves away what has rotted.
//
// # Several processes
//
// Any number of processes may use a folder. What they share is guarded by the
// database and by flock(2), so that a process that dies leaves nothing locked,
// nothing reserved and nothing half-written: what it had begun is collected when
// the folder is opened next. Only one of them may serve it ([Config.OpenExclusive]).
// No age, lease or reservation goes by the host's clock, which may jump.
//
// A Cache may be used concurrently.
package cache
