module ore

go 1.26.0

require (
	github.com/ProtonMail/go-crypto v1.5.2 // signatures of Debian archives
	github.com/google/go-cmp v0.7.0 // tests
	github.com/hanwen/go-fuse/v2 v2.12.1 // layers that machines read while they come
	github.com/insomniacslk/dhcp v0.0.0-20260901064844-234b97448fae // packets of DHCP
	github.com/jedib0t/go-pretty/v6 v6.8.3 // tables
	github.com/klauspost/compress v1.20.3 // zstd
	github.com/moby/sys/user v0.5.0 // subordinate ids
	github.com/opencontainers/go-digest v1.0.0 // digests of OCI
	github.com/opencontainers/image-spec v1.1.1 // descriptors of OCI
	github.com/pierrec/lz4/v4 v4.1.33 // lz4 in layers
	github.com/spf13/cobra v1.10.2 // command line, completion, man pages
	github.com/spf13/pflag v1.0.9 // flags of the command line that are not cobra's own
	github.com/ulikunitz/xz v0.5.17 // lzma in old packages and foreign images
	go.uber.org/goleak v1.3.0 // tests
	go.yaml.in/yaml/v4 v4.0.0 // job files
	golang.org/x/crypto v0.54.0 // host keys of machines in OpenSSH's form
	golang.org/x/net v0.57.0 // DNS messages; tests' BPF
	golang.org/x/sync v0.24.0 // bounded groups of goroutines
	golang.org/x/sys v0.49.0 // system calls
	golang.org/x/term v0.47.0 // terminals
	gvisor.dev/gvisor v0.0.0-20240916094835-a174eb65023f // TCP/IP of the gateway, without root
	modernc.org/sqlite v1.60.1 // metadata of the image cache, without cgo
	oras.land/oras-go/v2 v2.6.4 // OCI registries as remote caches
	pgregory.net/rapid v1.3.0 // tests
)

require (
	github.com/cloudflare/circl v1.6.3 // indirect
	github.com/cpuguy83/go-md2man/v2 v2.0.6 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/google/btree v1.1.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/josharian/native v1.1.0 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/mattn/go-runewidth v0.0.16 // indirect
	github.com/ncruces/go-strftime v1.0.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/stretchr/testify v1.11.1 // indirect
	github.com/u-root/uio v0.0.0-20230220225925-ffce2a382923 // indirect
	go.yaml.in/yaml/v3 v3.0.4 // indirect
	golang.org/x/text v0.40.0 // indirect
	golang.org/x/time v0.5.0 // indirect
	modernc.org/libc v1.77.1 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)
