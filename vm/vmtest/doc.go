// Package vmtest holds what proves a hypervisor's driver: a conformance suite
// that starts real machines with an init of its own, and a Fake that runs that
// init as a local process, for tests of what stands above.
package vmtest
