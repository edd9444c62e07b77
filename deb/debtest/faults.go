package debtest

import (
	"net/http"
	"strconv"
	"strings"
)

// Down answers every request with status 503.
func Down(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
	http.Error(w, "down", http.StatusServiceUnavailable)
	return true
}

// Missing has no file whose path contains part.
func Missing(part string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if !strings.Contains(r.URL.Path, part) {
			return false
		}
		http.NotFound(w, r)
		return true
	}
}

// Corrupted changes a byte in the middle of files whose path contains part.
func Corrupted(part string) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if !strings.Contains(r.URL.Path, part) || len(content) == 0 {
			return false
		}
		changed := append([]byte(nil), content...)
		changed[len(changed)/2] ^= 0x20
		w.Write(changed)
		return true
	}
}

// Short serves only the first half of files whose path contains part, as if
// they had no more.
func Short(part string) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if !strings.Contains(r.URL.Path, part) || len(content) == 0 {
			return false
		}
		w.Write(content[:len(content)/2])
		return true
	}
}

// Cut announces the whole of files whose path contains part and breaks the
// connection after a half, unless the client asks to continue.
func Cut(part string) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if !strings.Contains(r.URL.Path, part) || r.Header.Get("Range") != "" || len(content) == 0 {
			return false
		}
		half(w, content)
		panic(http.ErrAbortHandler)
	}
}

// Stalled sends a half of files whose path contains part and then nothing more
// for as long as the client waits.
func Stalled(part string) Fault {
	return func(w http.ResponseWriter, r *http.Request, content []byte) bool {
		if !strings.Contains(r.URL.Path, part) || len(content) == 0 {
			return false
		}
		half(w, content)
		<-r.Context().Done()
		return true
	}
}

// half sends the first half of the content and makes sure that it goes out.
func half(w http.ResponseWriter, content []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content[:len(content)/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}
