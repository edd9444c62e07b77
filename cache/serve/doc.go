// Package serve gives a cache to a whole site: over HTTP, to clients with a
// token or a certificate, each in a namespace. The protocol is that of package
// wire; package client speaks its other end.
//
// # Folder
//
//	images.db, blobs/ ...         the namespace "shared": an ordinary cache folder
//	namespaces/NAME/              the same for each other namespace
//	serve/lock                    held by the one server of the folder
//	serve/tokens.json             hashes of the tokens
//	serve/ca.pem, ca-key.pem      the authority for client certificates
//	serve/cert.pem, key.pem       the server's own certificate
//	serve/uploads/                unfinished uploads; emptied at each start
//	serve/derived/                chunk lists and patches; may be deleted
//
// # Isolation
//
// A namespace has a store of its own. What a client uploads goes there and
// nowhere else, so that the answer to an upload never tells what others have.
// Layers of shared images are linked into it when an image above them is
// registered: they take no room twice.
//
// # Guarantees
//
// A blob appears when all its bytes are there and match its digest; an image
// when all its layers are. The server may be killed at any moment: what it
// then leaves are unfinished uploads, which the next start removes. A blob that
// is evicted while it is read is read to its end. Nothing that a client sends
// is held in memory whole but manifests and other small bodies.
package serve
