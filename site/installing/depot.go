package installing

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"ore"
	"ore/deb/proxy"
	"ore/node/installing"
)

// gateway is how machines find the depot: by the name of their network's gateway.
var gateway = fmt.Sprintf("http://gateway:%d", installing.DepotPort)

// Depot is an HTTP service for machines that install themselves.
type depot struct {
	server *http.Server
	served chan error
	files  map[ore.Digest]string
	proxy  *proxy.Proxy // nil where no packages are needed, or only later
	late   *late        // nil where nothing is stocked later
	image  *capturing   // nil where none is kept
}

// openDepot serves the files and packages of a stock at the Unix socket at path,
// and takes an image there, unless captured is nil.
func openDepot(path string, s *stock, captured *capturing) (*depot, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the depot: %w: set ORE_HOME to a folder with a shorter path", err)
	}
	d := &depot{served: make(chan error, 1), files: s.files, proxy: s.proxy, late: s.late, image: captured}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/sha256/{hex}", d.blob)
	if d.proxy != nil || d.late != nil {
		mux.Handle("/packages/", http.StripPrefix("/packages", http.HandlerFunc(d.packages)))
	}
	if captured != nil {
		at := captureAt + captured.token
		mux.Handle(at, http.StripPrefix(at, captured.receiver))
		mux.Handle(at+"/", http.StripPrefix(at, captured.receiver))
	}
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { d.served <- d.server.Serve(l) }()
	return d, nil
}

// Close ends the service, and with it all that are served. An image that has come
// whole is waited for.
func (d *depot) Close() error {
	if d.image != nil {
		d.image.close()
	}
	err := d.server.Close()
	if e := <-d.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	if d.proxy != nil {
		err = errors.Join(err, d.proxy.Close())
	}
	if d.late != nil {
		err = errors.Join(err, d.late.close())
	}
	return err
}

// packages answers who asks for packages, if need be once these are stocked.
func (d *depot) packages(w http.ResponseWriter, r *http.Request) {
	p := d.proxy
	if p == nil {
		s, err := d.late.get()
		if err == nil && s.proxy == nil {
			err = errors.New("here are none")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		p = s.proxy
	}
	p.ServeHTTP(w, r)
}

// find says where a file is, which may be stocked only now.
func (d *depot) find(digest ore.Digest) (path string, err error) {
	path, ok := d.files[digest]
	if !ok && d.late != nil && d.late.has[digest] {
		var s *stock
		if s, err = d.late.get(); err == nil {
			path, ok = s.files[digest]
		}
	}
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	return path, err
}

// blob gives one of the files, in ranges too.
func (d *depot) blob(w http.ResponseWriter, r *http.Request) {
	digest := ore.Digest("sha256:" + r.PathValue("hex"))
	path, err := d.find(digest)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("ETag", `"`+digest.Hex()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}
