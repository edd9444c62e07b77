package agent

import "testing"

func TestRunning(t *testing.T) {
	for text, want := range map[string]int{
		"0.20 0.18 0.12 1/80 11206\n":    1,
		"25.81 22.30 12.72 35/334 31672": 35,
		"":                               0,
		"1 2 3":                          0,
		"1 2 3 many/few 5":               0,
	} {
		if got := running(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzRunning(f *testing.F) {
	f.Add("0.20 0.18 0.12 1/80 11206\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n := running(text); n != 0 && len(text) < 7 {
			t.Errorf("%q: %d", text, n)
		}
	})
}
