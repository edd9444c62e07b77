// Package repomd reads and writes repomd.xml, the file that says which indexes an
// RPM repository has (createrepo_c(8)):
//
//	<repomd xmlns="http://linux.duke.edu/metadata/repo">
//	  <data type="primary">
//	    <checksum type="sha256">...</checksum>
//	    <location href="repodata/...-primary.xml.gz"/>
//	    <size>850</size>
//	  </data>
//	</repomd>
//
// Only what a resolver reads is taken: the packages, their lists of files, groups
// and modules. Databases, which say the same, and change logs are left where they
// are.
package repomd

import (
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"ore"
)

const (
	// Limit bounds a repomd.xml: one has a dozen indexes of some 400 bytes each.
	Limit = 1 << 20
	// maxIndex bounds one index: the lists of files of the largest distributions
	// have 100 MiB.
	maxIndex = 1 << 30
)

// Name is where a repository has its repomd.xml.
const Name = "repodata/repomd.xml"

// wanted are the kinds of index that are taken, and whether a repository has to
// have one.
var wanted = [...]struct {
	kind string
	must bool
}{{"primary", true}, {"filelists", false}, {"group", false}, {"modules", false}}

// Index is one index.
type Index struct {
	Kind   string // "primary", "filelists", "group" or "modules"
	Path   string // relative to the repository
	Size   int64
	Digest ore.Digest
}

// Name returns a file name that no other index of any repository has.
func (i Index) Name() string { return i.Digest.Hex() + "-" + path.Base(i.Path) }

type document struct {
	XMLName  xml.Name `xml:"repomd"`
	Space    string   `xml:"xmlns,attr"`
	Revision string   `xml:"revision"`
	Data     []data   `xml:"data"`
}

type data struct {
	Kind     string   `xml:"type,attr"`
	Checksum checksum `xml:"checksum"`
	Location location `xml:"location"`
	Size     string   `xml:"size"`
}

type checksum struct {
	Kind  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

type location struct {
	Href string `xml:"href,attr"`
	Base string `xml:"base,attr,omitempty"`
}

// Parse returns the indexes that are wanted.
func Parse(text []byte) ([]Index, error) {
	if len(text) > Limit {
		return nil, fmt.Errorf("repomd.xml: %d bytes, more than %d", len(text), Limit)
	}
	var d document
	if err := xml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("repomd.xml: %w", err)
	}
	var all []Index
	for _, w := range wanted {
		found := false
		for _, x := range d.Data {
			if x.Kind != w.kind || found {
				continue
			}
			i, err := x.index()
			if err != nil {
				return nil, fmt.Errorf("repomd.xml: %s: %w", w.kind, err)
			}
			found = true
			all = append(all, i)
		}
		if w.must && !found {
			return nil, fmt.Errorf("repomd.xml: it names no %s index: this is no repository of packages", w.kind)
		}
	}
	return all, nil
}

func (x data) index() (Index, error) {
	i := Index{Kind: x.Kind, Path: x.Location.Href}
	if x.Location.Base != "" {
		return i, errors.New("it lies at another address: name a mirror that has it itself")
	}
	if i.Path == "" || path.IsAbs(i.Path) || path.Clean(i.Path) != i.Path || strings.HasPrefix(i.Path, "..") || strings.ContainsAny(i.Path, "?#\\") {
		return i, fmt.Errorf("location %q is not a path in the repository", i.Path)
	}
	d, err := Digest(x.Checksum.Kind, x.Checksum.Value)
	if err != nil {
		return i, err
	}
	i.Digest = d
	i.Size, err = strconv.ParseInt(strings.TrimSpace(x.Size), 10, 64)
	if err != nil || i.Size <= 0 || i.Size > maxIndex {
		return i, fmt.Errorf("size %q is not one of 1 to %d bytes", x.Size, maxIndex)
	}
	return i, nil
}

// Digest returns the digest that an index gives, which must be of the one kind in
// use: what is named by a weaker hash is not proved by it.
func Digest(kind, value string) (ore.Digest, error) {
	if kind != "sha256" {
		return "", fmt.Errorf("it is named by its %q hash: only sha256 is used: have the repository's index made with --checksum=sha256", kind)
	}
	return ore.ParseDigest("sha256:" + strings.TrimSpace(value))
}

// Write returns a repomd.xml that names these indexes, each beside it under its
// [Index.Name].
func Write(list []Index) ([]byte, error) {
	d := document{Space: "http://linux.duke.edu/metadata/repo", Revision: "1"}
	for _, i := range list {
		d.Data = append(d.Data, data{
			Kind: i.Kind, Checksum: checksum{"sha256", i.Digest.Hex()},
			Location: location{Href: "repodata/" + i.Name()}, Size: strconv.FormatInt(i.Size, 10),
		})
	}
	b, err := xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("repomd.xml: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}
