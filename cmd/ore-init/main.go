// Command ore-init is process 1 of a machine, and the launcher between the
// machines of a job. See package ore/guest/inside.
package main

import "ore/guest/inside"

func main() { inside.Main() }
