package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"ore"
	"ore/image"
)

// Schemes of addresses: SchemePlain speaks HTTP without TLS, for registries on
// the own host.
const (
	Scheme      = "oci://"
	SchemePlain = "oci+http://"
)

// Media types of what is ours.
const (
	typeArtifact   = "application/vnd.ore.image.v1+json"
	typeManifest   = "application/vnd.ore.manifest.v1+json"
	typeSignatures = "application/vnd.ore.signatures.v1+json"
	typeLayer      = "application/vnd.ore.layer.v1.squashfs"
	typeMaterials  = "application/spdx+json"
)

// Annotations of the artifact.
const (
	annotationPackages = "ore.packages"
	annotationLock     = "ore.lock"
	annotationTree     = "ore.tree"
)

const (
	// suffix tells an artifact's tag from that of the OCI image.
	suffix = ".ore"
	// maxManifest bounds manifests of both kinds: registries refuse larger ones
	// too (distribution-spec: 4 MiB should be accepted at least). The lock of
	// 2,000 packages takes 0.5 MB.
	maxManifest = 4 << 20
	// maxSignatures bounds the blob of the signatures, a line of JSON each.
	maxSignatures = 64 << 10
)

// Remote is one repository of a registry. Make it with Open.
type Remote struct {
	address string
	repo    *remote.Repository
}

// Open returns the repository that address names, such as
// oci://registry.example.org/group/ore. It does not connect.
func Open(address string) (*Remote, error) {
	name, ok := strings.CutPrefix(address, Scheme)
	plain := false
	if !ok {
		name, plain = strings.CutPrefix(address, SchemePlain)
		if !plain {
			return nil, fmt.Errorf("cache %q: not an address of a registry: write oci://HOST/REPOSITORY, or %sHOST/REPOSITORY without TLS", address, SchemePlain)
		}
	}
	repo, err := remote.NewRepository(name)
	if err != nil || repo.Reference.Reference != "" {
		return nil, fmt.Errorf("cache %q: not the name of a repository: write oci://HOST/REPOSITORY, without tag or digest", address)
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("cache %s: credentials: %w", address, err)
	}
	repo.PlainHTTP = plain
	repo.Client = &auth.Client{Client: &http.Client{Transport: advising{retry.DefaultClient.Transport}}, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	return &Remote{address: address, repo: repo}, nil
}

// advising is a transport that says how a registry without TLS is named.
type advising struct{ http.RoundTripper }

func (a advising) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := a.RoundTripper.RoundTrip(r)
	var answered tls.RecordHeaderError
	if errors.As(err, &answered) && string(answered.RecordHeader[:]) == "HTTP/" { // so does http.Client look for it
		err = fmt.Errorf("the registry speaks HTTP without TLS: write %s instead of %s", SchemePlain, Scheme)
	}
	return answer, err
}

// Is says whether address names a registry.
func Is(address string) bool {
	return strings.HasPrefix(address, Scheme) || strings.HasPrefix(address, SchemePlain)
}

// Found is an image that a registry has.
type Found struct {
	Manifest   image.Manifest
	Signatures []byte // as they were given to Push; nil for none
}

// Find returns the image of key. The error matches [image.ErrMissing] if the
// registry has none.
func (r *Remote) Find(ctx context.Context, key ore.Key) (Found, error) {
	found, err := r.find(ctx, key)
	if errors.Is(err, errdef.ErrNotFound) {
		err = image.ErrMissing
	}
	if err != nil {
		return Found{}, fmt.Errorf("find %s in %s: %w", key.Short(), r.address, err)
	}
	return found, nil
}

func (r *Remote) find(ctx context.Context, key ore.Key) (Found, error) {
	a, err := r.artifact(ctx, key)
	if err != nil {
		return Found{}, err
	}
	b, err := r.small(ctx, a.Layers, typeManifest, maxManifest)
	if err != nil {
		return Found{}, err
	}
	f := Found{}
	if f.Manifest, err = image.DecodeManifest(b); err != nil {
		return Found{}, err
	}
	if f.Manifest.Key != key {
		return Found{}, fmt.Errorf("what is tagged so is %s: remove the tag %s%s", f.Manifest.Key.Short(), key, suffix)
	}
	for _, l := range f.Manifest.Layers {
		if !slices.ContainsFunc(a.Layers, func(d ocispec.Descriptor) bool { return d.Digest.String() == string(l.Digest) }) {
			return Found{}, fmt.Errorf("layer %s is not there: push the image again", l.Digest.Short())
		}
	}
	f.Signatures, err = r.small(ctx, a.Layers, typeSignatures, maxSignatures)
	if errors.Is(err, errdef.ErrNotFound) {
		err = nil
	}
	return f, err
}

// artifact fetches the artifact's own manifest.
func (r *Remote) artifact(ctx context.Context, key ore.Key) (ocispec.Manifest, error) {
	var a ocispec.Manifest
	d, err := r.repo.Resolve(ctx, string(key)+suffix)
	if err != nil {
		return a, err
	}
	b, err := r.fetch(ctx, d, maxManifest)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("artifact manifest: %w", err)
	}
	if a.ArtifactType != typeArtifact {
		return a, fmt.Errorf("artifact type %q: not one of ore's images", a.ArtifactType)
	}
	return a, nil
}

// small fetches the first of layers with a media type.
func (r *Remote) small(ctx context.Context, layers []ocispec.Descriptor, mediaType string, limit int64) ([]byte, error) {
	for _, d := range layers {
		if d.MediaType == mediaType {
			return r.fetch(ctx, d, limit)
		}
	}
	return nil, fmt.Errorf("%s: %w", mediaType, errdef.ErrNotFound)
}

// fetch reads a blob or manifest whole, which must be what d says.
func (r *Remote) fetch(ctx context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", d.MediaType, d.Size, limit)
	}
	body, err := r.repo.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != d.Size || string(ore.DigestOf(b)) != d.Digest.String() {
		return nil, fmt.Errorf("%s: %w", d.MediaType, image.ErrRotten)
	}
	return b, nil
}

// versioned is the schema of every manifest here.
func versioned() specs.Versioned { return specs.Versioned{SchemaVersion: 2} }
