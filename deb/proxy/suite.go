package proxy

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
)

// suite is one of the archive's, with the paths of what its InRelease lists.
type suite struct {
	deb.Published
	hashed map[ore.Digest]string // a path of each digest
}

func newSuite(s deb.Published) suite {
	n := suite{Published: s, hashed: map[ore.Digest]string{}}
	for path, f := range s.Release.Files {
		if old, twice := n.hashed[f.Digest]; !twice || path < old {
			n.hashed[f.Digest] = path
		}
	}
	return n
}

// called says whether the suite goes by a name.
func (s suite) called(name string) bool {
	return name != "" && (name == s.Suite || name == s.Release.Codename || name == s.Release.Suite)
}

// page is an answer that is in memory already.
type page []byte

// index returns what is at a path below dists: a page, or a file to fetch.
func (p *Proxy) index(name, at string) (page, fetch.File, bool) {
	p.offer.RLock()
	defer p.offer.RUnlock()
	i := slices.IndexFunc(p.suites, func(s suite) bool { return s.called(name) })
	if i < 0 {
		return nil, fetch.File{}, false
	}
	s := p.suites[i]
	if at == "InRelease" {
		return s.InRelease, fetch.File{}, true
	}
	if dir, hex, ok := strings.Cut(at, "/by-hash/SHA256/"); ok {
		listed, known := s.hashed[ore.Digest("sha256:"+hex)]
		if !known || path.Dir(listed) != dir && s.Release.Files[path.Join(dir, path.Base(listed))].Digest != ore.Digest("sha256:"+hex) {
			return nil, fetch.File{}, false
		}
		at = listed
	}
	f, ok := s.Release.Files[at]
	if !ok || !fs.ValidPath(at) {
		return nil, fetch.File{}, false
	}
	if f.Size == 0 {
		return page{}, fetch.File{}, true
	}
	root := s.URI + "/dists/" + s.Suite + "/"
	file := fetch.File{Path: filepath.Join(p.config.Dir, f.Digest.Hex()), Size: f.Size, Digest: f.Digest, URLs: []string{root + at}}
	if s.Release.ByHash {
		file.URLs = append([]string{root + path.Dir(at) + "/by-hash/SHA256/" + f.Digest.Hex()}, file.URLs...)
	}
	return nil, file, true
}

// tidy removes the indexes that nobody has fetched for longest, beyond the bound.
func (p *Proxy) tidy() {
	list, err := os.ReadDir(p.config.Dir)
	if err != nil {
		return // then nothing can be kept either, and that is told
	}
	var files []fs.FileInfo
	var total int64
	for _, e := range list {
		if i, err := e.Info(); err == nil && i.Mode().IsRegular() {
			files = append(files, i)
			total += i.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= maxIndexes {
			return
		}
		if os.Remove(filepath.Join(p.config.Dir, f.Name())) == nil {
			total -= f.Size()
		}
	}
}
