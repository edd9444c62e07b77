package output

import (
	"errors"
	"io"
	"testing"
)

// A program that failed is told with its last words, or without any.
func TestExplain(t *testing.T) {
	failed := errors.New("exit code 1")
	for printed, want := range map[string]string{
		"":       "exit code 1, and it printed nothing: put 'set -x' before its commands to see which one fails",
		"last\n": "exit code 1: correct what it says; the output ends with:\nlast",
	} {
		l := &Lines{}
		if _, err := io.WriteString(l, printed); err != nil {
			t.Fatal(err)
		}
		if err := l.Explain(failed); err.Error() != want || !errors.Is(err, failed) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
