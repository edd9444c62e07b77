// Package sbom writes an image's bill of materials.
//
// The form is SPDX 2.3 as JSON (spdx.github.io/spdx-spec/v2.3, ISO/IEC 5962 is
// its predecessor): one document that describes the image, and one package for
// each Debian or RPM package of its lock, with its version, the SHA-256 of its file
// and its package URL (pkg:deb, pkg:rpm, github.com/package-url/purl-spec). Packages that
// were asked for and those that came along stand in relationships CONTAINS; a
// file that the job file added is a package of its own, with its content's hash.
//
// What a lock does not know is NOASSERTION: licences stand in the packages'
// /usr/share/doc, suppliers in no index. The bytes depend on the image alone;
// the time of creation is therefore 1970, as in an image's OCI export.
package sbom

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"ore"
	"ore/image"
)

const (
	version = "SPDX-2.3"
	license = "CC0-1.0" // of the document's own data; the specification has no other
	unknown = "NOASSERTION"
	created = "1970-01-01T00:00:00Z"
)

type document struct {
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []component    `json:"packages"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type component struct {
	Name      string      `json:"name"`
	ID        string      `json:"SPDXID"`
	Version   string      `json:"versionInfo,omitempty"`
	Location  string      `json:"downloadLocation"`
	Analyzed  bool        `json:"filesAnalyzed"`
	Purpose   string      `json:"primaryPackagePurpose,omitempty"`
	Checksums []checksum  `json:"checksums,omitempty"`
	Refs      []reference `json:"externalRefs,omitempty"`
	Concluded string      `json:"licenseConcluded"`
	Declared  string      `json:"licenseDeclared"`
	Copyright string      `json:"copyrightText"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID = "SPDXRef-DOCUMENT"
	imageID    = "SPDXRef-Image"
)

// SPDX returns the bill of materials of m.
func SPDX(m image.Manifest) ([]byte, error) {
	env := m.Environment
	d := document{
		Version: version, License: license, ID: documentID,
		Name:      "ore image " + m.Key.Short(),
		Namespace: "urn:ore:image:" + string(m.Digest()),
		Creation:  creation{created, []string{"Tool: ore"}},
		Relationships: []relationship{
			{documentID, "DESCRIBES", imageID},
		},
	}
	whole := blank("ore image", imageID)
	whole.Version, whole.Purpose = string(m.Key), "OPERATING-SYSTEM"
	whole.Checksums = sum(m.Digest())
	d.Packages = append(d.Packages, whole)
	for i, p := range env.Packages {
		d.add(ofPackage(fmt.Sprintf("SPDXRef-Package-%d", i+1), p, env.Base))
	}
	for i, f := range env.Files {
		if f.Digest == "" {
			continue // a link or folder has no content
		}
		c := blank(f.Path, fmt.Sprintf("SPDXRef-File-%d", i+1))
		c.Purpose, c.Checksums = "FILE", sum(f.Digest)
		d.add(c)
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("bill of materials: %w", err)
	}
	return append(b, '\n'), nil
}

func (d *document) add(c component) {
	d.Packages = append(d.Packages, c)
	d.Relationships = append(d.Relationships, relationship{imageID, "CONTAINS", c.ID})
}

func blank(name, id string) component {
	return component{Name: name, ID: id, Location: unknown, Concluded: unknown, Declared: unknown, Copyright: unknown}
}

func ofPackage(id string, p ore.Package, base ore.Base) component {
	c := blank(p.Name, id)
	c.Version, c.Purpose, c.Checksums = p.Version, "INSTALL", sum(p.Digest)
	if p.Archive != "" {
		c.Location = strings.TrimRight(p.Archive, "/") + "/" + p.Path
	}
	c.Refs = []reference{{"PACKAGE-MANAGER", "purl", purl(p, base)}}
	return c
}

// purl is the package's URL. The namespace is the distribution whose archive it
// comes from; a further repository's packages have theirs in repository_url.
func purl(p ore.Package, base ore.Base) string {
	q := url.Values{"arch": {p.Arch}, "distro": {base.Suite}}
	if p.Archive != "" {
		q.Set("repository_url", p.Archive)
	}
	escape := func(s string) string { return strings.ReplaceAll(url.PathEscape(s), "+", "%2B") }
	if base.Distribution == "rpm" {
		// Which distribution made it is not known, and the epoch is a qualifier.
		q.Del("distro")
		version := p.Version
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			q.Set("epoch", epoch)
			version = rest
		}
		return fmt.Sprintf("pkg:rpm/%s@%s?%s", escape(p.Name), escape(version), q.Encode())
	}
	return fmt.Sprintf("pkg:deb/%s/%s@%s?%s", base.Distribution, escape(p.Name), strings.ReplaceAll(escape(p.Version), "%3A", ":"), q.Encode())
}

func sum(d ore.Digest) []checksum { return []checksum{{"SHA256", d.Hex()}} }
