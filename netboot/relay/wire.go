package relay

// Pattern is what a server's mux knows a [Book] by.
const Pattern = "POST /chain/{token}/{digest}"

const (
	// Chunk is how many bytes of a blob are asked for at once, and have a sum: little
	// enough that one comes within seconds over 500 kbit/s, and that forty bytes
	// of sum are nothing beside it.
	Chunk = 256 << 10
	// Neighbours is how many machines one is told of: two may be lost at the same time.
	Neighbours = 3
	// maxBlob bounds the list of sums: 64 GiB have 8 MiB of them.
	maxBlob = 64 << 30
	// maxChain is how long an answer may be: the sums of maxBlob in base64, and addresses.
	maxChain = 12 << 20
)

// join is what a machine says when it begins with a blob.
type join struct {
	Port uint16 `json:"port"` // where it gives chunks; 0: it gives none
}

// chain is what it is told.
type chain struct {
	Size int64    `json:"size"` // of the blob, in bytes
	Sums []byte   `json:"sums"` // SHA-256 of each chunk, one behind the other
	From []string `json:"from"` // where machines give the blob, once the digest is appended; best first
}

// chunks is how many there are in so many bytes.
func chunks(size int64) int64 { return (size + Chunk - 1) / Chunk }
