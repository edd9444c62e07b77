package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What the libraries say of a command line that they do not understand is put
// into the words that ore has for everything else.

// plainFlagError says what a flag takes.
func plainFlagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	f := bad.GetFlag()
	what := map[string]string{
		"int": "use a whole number", "duration": "use a time such as 90s, 30m or 2h", "bool": "use true or false",
	}[f.Value.Type()]
	if what == "" {
		return err
	}
	return fmt.Errorf("--%s %q: %s", f.Name, bad.GetValue(), what)
}

// plainArgsError says how a command is written that was given too few words, or
// too many.
func plainArgsError(c *cobra.Command, args []string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "arg(s)"):
		return fmt.Errorf("%s: %s: write '%s'", c.Name(), count(len(args)), c.UseLine())
	case strings.HasPrefix(text, "unknown command") && !c.HasSubCommands() && len(args) > 0:
		return fmt.Errorf("%s: it takes no word such as %q", c.Name(), args[0])
	}
	return err
}

func count(words int) string {
	switch words {
	case 0:
		return "it needs something to work on"
	case 1:
		return "one word is not what it takes"
	}
	return fmt.Sprintf("%d words are not what it takes", words)
}

// checkMirror refuses what cannot be a mirror's address.
func checkMirror(mirror string) error {
	if mirror == "" {
		return nil
	}
	if u, err := url.Parse(mirror); err != nil || u.Scheme == "" || u.Scheme != "file" && u.Host == "" {
		return fmt.Errorf("--mirror %q: not a mirror's address: use one such as http://mirror.example.org/debian", mirror)
	}
	return nil
}
