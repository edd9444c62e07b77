// Package layer turns what builds change into layers.
//
// A [Tree] is the list of all that is in a tree. Changes are laid over it, one
// after the other; at any time the difference from what the sealed layers have
// becomes the next layer: entries that are new or differ, a whiteout for each
// name that went, and the folders on the way to them. So it does not matter in
// how many parts a layer's changes came.
package layer
