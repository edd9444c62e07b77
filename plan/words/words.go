// Package words reads the values of what-ifs: each function takes a word into its
// first argument, which stays as it was if the word is none of its kind, and then
// says what would be one.
package words

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mostBits bounds rates: a petabit in a second says nothing about any site.
const mostBits = 1e15

// Number reads a number from 0 to most.
func Number(to **float64, v string, most float64) error {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0 && f <= most) {
		return fmt.Errorf("not a number from 0 to %g", most)
	}
	*to = &f
	return nil
}

// unit returns the bits of a unit of rates, as tc(8) has them; 0 if it is none.
func unit(name string) float64 {
	switch strings.ToLower(name) {
	case "bit":
		return 1
	case "kbit":
		return 1e3
	case "mbit":
		return 1e6
	case "gbit":
		return 1e9
	}
	return 0
}

// Rate reads bits in a second, as in 500kbit.
func Rate(to **float64, v string) error {
	end := strings.IndexFunc(v, func(c rune) bool { return (c < '0' || c > '9') && c != '.' })
	if end <= 0 {
		return fmt.Errorf("not a rate: write it as 500kbit or 100Mbit")
	}
	f, err := strconv.ParseFloat(v[:end], 64)
	f *= unit(v[end:])
	if err != nil || !(f >= 1 && f <= mostBits) {
		return fmt.Errorf("not a rate of at least 1bit: write it as 500kbit or 100Mbit")
	}
	*to = &f
	return nil
}

// Count reads a whole number from 1 to most.
func Count(to **int, v string, most int) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return fmt.Errorf("not a number from 1 to %d", most)
	}
	*to = &n
	return nil
}

// OneOf reads one of the words that are allowed.
func OneOf(to *string, v string, allowed ...string) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("not one of %s", strings.Join(allowed, ", "))
	}
	*to = v
	return nil
}

// YesNo reads yes or no.
func YesNo(to **bool, v string) error {
	if v != "yes" && v != "no" {
		return fmt.Errorf("neither yes nor no")
	}
	b := v == "yes"
	*to = &b
	return nil
}
