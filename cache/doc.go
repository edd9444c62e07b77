// Package cache keeps the images of a site and finds them again.
//
// A cache is a folder: the blobs of an [image.Store], and metadata in SQLite
// (images.db) that says which image holds which packages. It finds and keeps;
// it does not decide what to use (package plan does) and does not build
// (package install does): the builder comes in as a function.
//
// # Guarantees
//
// An image is listed only after all its blobs are in the store. Requests for
// one key at once, from any number of processes, lead to one build: the others
// wait for it, and if the builder dies the next of them takes over
// ([Cache.Once]). An image that somebody holds ([image.Store.Hold]) is not
// removed.
// A process that dies leaves nothing locked, since all locks are flock(2).
//
// A Cache may be used concurrently.
package cache
