// Package cluster takes one job from its wish to its results.
//
// [Run] is the table of contents: resolve, find, choose, image, reserve, start,
// run, collect, release. Each step takes a value and gives the next; Run alone
// times them, so the timeline of a result tells where the time went.
//
// What the steps need comes in through three interfaces: [Images] makes
// environments and images, [Engine] gives hosts, and [Node] is one host. A job
// that fails is not the system failing: the two are told apart by the result's
// kind, and an exit code of the job is never made up by the system.
package cluster
