package fetch

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"
)

// Problem is the media type of an answer that says what went wrong (RFC 9457). A
// package proxy gives such ones: who asks it wants to know of the mirror behind it.
const Problem = "application/problem+json"

const (
	// maxProblem bounds what is read of one.
	maxProblem = 16 << 10
	// maxDetail is how much of it is shown: two addresses and some sentences.
	maxDetail = 1 << 10
)

// problem is of such an answer what is used (RFC 9457, section 3.1).
type problem struct {
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail"`
}

// Refuse answers that something went wrong.
func Refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", Problem)
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(problem{http.StatusText(code), code, err.Error()}) // who does not hear it has the status
}

// status is the error of an answer that is no success.
func status(url string, resp *http.Response) *StatusError {
	e := &StatusError{URL: url, Code: resp.StatusCode}
	e.wait, e.busy = asked(resp)
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var p problem
	if err != nil || kind != Problem || json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&p) != nil {
		return e
	}
	e.Said = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) { // nothing that a terminal acts on
			return ' '
		}
		return r
	}, strings.ToValidUTF8(p.Detail[:min(len(p.Detail), maxDetail)], ""))
	return e
}
