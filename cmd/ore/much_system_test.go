//go:build system

package main

// much is the output of a job that prints much.
const much = 1 << 30
