// Package ore holds the nouns of the project: what a job asks for, the
// environment it is resolved to, and what came of it. It does no I/O.
//
// A [Job] says which packages it [Wants] and on how many [Machines] its [Run]
// happens. Resolving turns the wish into an [Environment], in which every
// package has an exact version and hash; the hash of an environment is its
// [Key]. Installing an environment makes an image, whose bytes are named by a
// [Digest]. A key says what was asked, a digest what was made: two different
// types, so that one never stands in for the other.
//
// Running a job gives a [Result] for the whole and one for each rank, with a
// [Timeline] of the stages that the job went through.
//
// All types are plain values: safe to copy, to compare with reflect.DeepEqual
// and to write as JSON. Nothing here is changed after it was made.
package ore
