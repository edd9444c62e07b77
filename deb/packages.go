package deb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"

	"ore"
	"ore/deb/fetch"
	"ore/deb/index"
	"ore/deb/release"
)

// maxPackages bounds a Packages file, however small it came: all of unstable
// has 80 MB.
const maxPackages = 1 << 30

// component gets the indexes of one component: that of amd64, where packages
// for all architectures usually stand too, and that of "all" if it is apart.
func (r *refresh) component(ctx context.Context, rel release.Release, component string) ([]packed, error) {
	paths := []string{"Packages"}
	if component != "" {
		paths = []string{component + "/binary-" + Arch + "/Packages"}
		if rel.AllApart {
			paths = append(paths, component+"/binary-all/Packages")
		}
	}
	var list []packed
	for i, path := range paths {
		d, err := r.index(ctx, rel, path)
		if errors.Is(err, errNotListed) && i > 0 {
			continue // "all" may be announced and yet have no index
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", r.src, err)
		}
		list = append(list, packed{Component: component, Digest: d})
	}
	return list, nil
}

// errNotListed is an index that the Release does not vouch for.
var errNotListed = errors.New("the release file does not list it: use another mirror")

// variant is one form in which an index may be offered.
type variant struct {
	suffix string
	unpack func(io.Reader) (io.Reader, error)
}

// variants returns the forms in the order of preference. The gzip form is a
// third larger than the xz form but is decoded ten times as fast, in less time
// than the difference takes on any line above 10 Mbit/s; mirrors rarely have
// the plain one.
func variants() []variant {
	return []variant{
		{".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{".xz", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
		{"", func(r io.Reader) (io.Reader, error) { return r, nil }},
	}
}

// index makes sure that the index at path is kept in its compact form, and
// returns the name of that.
func (r *refresh) index(ctx context.Context, rel release.Release, path string) (ore.Digest, error) {
	plain, listed := rel.Files[path]
	missing := fmt.Errorf("index %s: %w", path, errNotListed)
	for _, v := range variants() {
		file, ok := rel.Files[path+v.suffix]
		if !ok {
			continue
		}
		name := plain.Digest
		if !listed {
			name, plain.Size = file.Digest, maxPackages
		}
		if x, err := index.Open(r.store.packedPath(name)); err == nil {
			return name, x.Close()
		}
		text, err := r.packagesText(ctx, rel, v, indexFile{path, file, plain.Size})
		switch {
		case errors.Is(err, os.ErrNotExist):
			// Another process fetched the same file and was done with it
			// before it was read here: then its compact index is there.
			x, err := index.Open(r.store.packedPath(name))
			if err != nil {
				return "", fmt.Errorf("index %s: %w", path, err)
			}
			return name, x.Close()
		case fetch.NotFound(err):
			missing = fmt.Errorf("index %s: %w: the mirror is incomplete: use another one", path, err)
			continue // it may have another form
		case err != nil:
			return "", err
		}
		if got := ore.DigestOf(text); listed && got != plain.Digest {
			return "", fmt.Errorf("index %s: its content has hash %s where the release file says %s: use another mirror",
				path, got.Short(), plain.Digest.Short())
		}
		if err := r.pack(name, text); err != nil {
			return "", fmt.Errorf("index %s: %w", path, err)
		}
		return name, removeIfThere(r.store.partial(file.Digest))
	}
	return "", missing
}

// pack keeps the compact form of a Packages file.
func (r *refresh) pack(name ore.Digest, text []byte) error {
	data, err := index.Build(string(text))
	if err != nil {
		return err
	}
	return writeWhole(r.store.packedPath(name), data)
}

// indexFile is one form of an index as the release file lists it.
type indexFile struct {
	path string       // without the form's suffix
	file release.File // the form
	size int64        // of the index when it is unpacked
}

// packagesText fetches one form of an index and unpacks it.
func (r *refresh) packagesText(ctx context.Context, rel release.Release, v variant, x indexFile) ([]byte, error) {
	path, file, size := x.path, x.file, x.size
	if file.Size == 0 {
		return nil, nil
	}
	urls := []string{r.src.root() + "/" + path + v.suffix}
	if rel.ByHash {
		dir := path[:strings.LastIndexByte(path, '/')+1]
		urls = append([]string{r.src.root() + "/" + dir + "by-hash/SHA256/" + file.Digest.Hex()}, urls...)
	}
	r.tell("fetching " + urls[len(urls)-1])
	f := fetch.File{URLs: urls, Path: r.store.partial(file.Digest), Size: file.Size, Digest: file.Digest}
	if err := r.client.File(ctx, f, nil); err != nil {
		return nil, err
	}
	packed, err := os.ReadFile(f.Path)
	if err != nil {
		return nil, err
	}
	from, err := v.unpack(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path+v.suffix, err)
	}
	limit := min(size, maxPackages)
	text, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, fmt.Errorf("index %s: %w", path+v.suffix, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("index %s: it unpacks to more than the %d bytes allowed: use another mirror", path+v.suffix, limit)
	}
	return text, nil
}

// removeIfThere removes a file that another process may have removed too.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
