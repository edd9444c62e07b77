package evict

import "math"

// Use is how often something was asked for: counts that decay, at two speeds,
// with the number of requests to the whole cache. The fast one sees bursts come
// and go and follows drift; the slow one remembers who comes again. The zero
// value was never asked for.
type Use struct {
	Last    int64   // number of the last request that is counted
	Fast    float64 // requests, halved every FastHalf
	Slow    float64 // requests, halved every SlowHalf
	Assists float64 // seconds saved for others, halved every SlowHalf
}

// Half-lives, in requests to the cache. They were chosen on the traces of
// package replay; anything within a factor of two does as well to 2 %.
const (
	FastHalf = 600
	SlowHalf = 8000
)

const (
	// fastWeight is the share of the fast count in the rate.
	fastWeight = 0.4
	// doubt is how many requests are too few to go by: most of what was asked
	// for once is never asked for again, so that counts below it are taken for
	// less than they are.
	doubt = 2
)

// At returns u as it is at request number now. Numbers that go back, as after a
// database was restored, change nothing.
func (u Use) At(now int64) Use {
	if now <= u.Last {
		return u
	}
	past := float64(now - u.Last)
	slow := math.Exp2(-past / SlowHalf)
	return Use{Last: now, Fast: u.Fast * math.Exp2(-past/FastHalf), Slow: u.Slow * slow, Assists: u.Assists * slow}
}

// Asked returns u after request number now was for it.
func (u Use) Asked(now int64) Use {
	u = u.At(now)
	u.Fast++
	u.Slow++
	return u
}

// Assisted returns u after request number now was built on it and saved seconds
// by that.
func (u Use) Assisted(now int64, seconds float64) Use {
	u = u.At(now)
	u.Assists += max(0, seconds)
	return u
}

// Rate returns the expected requests for it among each request to the cache.
func (u Use) Rate(now int64) float64 {
	u = u.At(now)
	rate := fastWeight*u.Fast*math.Ln2/FastHalf + (1-fastWeight)*u.Slow*math.Ln2/SlowHalf
	return rate * u.Slow / (u.Slow + doubt)
}

// AssistRate returns the expected seconds that it saves others with each
// request to the cache.
func (u Use) AssistRate(now int64) float64 { return u.At(now).Assists * math.Ln2 / SlowHalf }
