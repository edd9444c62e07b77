// Package plan decides by which way the image of an environment comes to be,
// how it reaches the hosts, and how machines start with it, and predicts how
// long each stage takes.
//
// It is pure: what is asked ([Ask]), what exists ([Have]) and what this site has
// shown ([Rates]) come in as values, and a [Plan] goes out. No time in seconds is
// written here.
//
// # Ways
//
// From the least work to the most: an image with the same key, here (exact) or
// in a cache (fetched); one with more than was asked, where that is allowed
// (superset); another image with what lacks installed and what is too much
// removed (partial); the base layer and the rest (delta); everything from
// packages (clean). An image is made once and mounted by all machines, and
// reaches other hosts directly or through a chain; or each machine installs
// itself and starts again. Machines with disks of their own ([Ask.Disk]) install
// themselves in any case: from the image, the base's or packages.
//
// # Rates
//
// A [Law] says what work costs on a host or over a link: seconds are amounts of
// work times coefficients, which are fitted to this site's own runs with
// exponentially fading weights. It knows its spread, its count, and how far a
// question lies from what was measured. A far outlier counts as a near one. What
// dpkg and steps took is also remembered by the name of the package or step,
// since it depends on what a script does far more than on bytes; one that was never
// removed is expected to take what others did whose scripts call about as many
// programs, or that were configured in about as long, and how far those differ is in
// the range. What was never measured is unknown: it shows as such, and options are
// then compared by a price for unknown work that grows with its amount (see price).
//
// # How times are put together
//
// Stages follow each other, so their times add up. Within a stage, branches run
// side by side, and the last one counts: the mean and the deviation of the
// greater of two normal variables are Clark's. A build from nothing is modelled
// by its critical path: what dpkg does on one core and what is decoded or sealed
// on the others take as long as the longer of the two, and no less than all of
// the work takes on all cores. Where many hosts or links draw a time each, the
// last one is expected later by the deviations of one law that the greatest of
// so many draws lies above the mean (Blom); where hosts install, each for itself,
// by those of the sum of the stages. Over links the slowest counts: each
// link carries all bytes of those that share it. Threads of others (load) and
// several installations on one host share the cores evenly.
//
// Deviations of terms of one law add up, since the same coefficients are wrong
// in all of them; those of different laws are independent. The [Range] of a
// total is that of the log-normal distribution with its mean and deviation:
// eight of ten times lie between Low and High, which is held by making ranges
// narrower or wider after each run ([Rates.Aim]). Middle is the mean.
//
// What came of predictions is package hindsight's.
package plan
