// Package registry keeps images in an OCI registry, as a cache that other hosts
// can reach and other tools can read.
//
// # What is kept there
//
// One image of ore is two manifests of one repository
// (github.com/opencontainers/distribution-spec, image-spec 1.1):
//
//	tag KEY       an OCI image, as "ore images export --format oci" writes it:
//	              tar+zstd layers, for podman, docker, skopeo
//	tag KEY.ore   an artifact (artifactType application/vnd.ore.image.v1+json)
//	              whose layers are the image's manifest, its signatures, its bill
//	              of materials (SPDX) and its squashfs layers, which machines
//	              mount as they are
//
// KEY is the environment's key, 64 hexadecimal digits. The artifact's subject is
// the OCI image, so that tools list it as a referrer. Its annotations have the
// package list (ore.packages: NAME=VERSION:ARCH, one a line) and the lock
// (ore.lock: the environment as JSON), so that an image can be chosen without
// fetching it. Layers that images share are one blob of the repository.
//
// # Guarantees
//
// A blob is pushed before a manifest names it, and the tag KEY.ore last: an
// interrupted [Remote.Push] leaves nothing that [Remote.Find] would return. What
// is pulled is compared with its digest before the store shows it, and a
// manifest whose key is not the one that was asked for is refused. A registry
// cannot be asked for a near relative: only an exact key is found here.
//
// Credentials come from the configuration that docker, podman and skopeo share
// (~/.docker/config.json and its helpers; DOCKER_CONFIG). A Remote may be used
// concurrently.
package registry
