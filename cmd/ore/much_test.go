//go:build !system

package main

// much is the output of a job that prints much, in the quick tier.
const much = 100 << 20
