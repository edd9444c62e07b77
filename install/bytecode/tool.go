package bytecode

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"ore/install/pack"
	"ore/install/tree"
)

// tools is the package of py3compile, the program by which all other packages have
// their modules compiled, and its postinst is the first that calls it: for the modules
// of py3compile itself. That takes four starts of Python, and two where a package has
// nothing to compile.
const (
	tools    = "python3-minimal"
	toolPath = "usr/bin/py3compile"
	toolDir  = "usr/share/python3/"
	toolCall = "py3compile -p " + tools + " /" + toolDir + "\n"
)

// knownTool is the hash of what py3compile consists of, as [toolHash] has it, in the
// one version that was read. It imports its modules in toolDir's folder debpython, all
// of them, before it compiles anything. Importing writes what is compiled with the
// time of the source (PEP 552, "timestamp-based"), and it then finds that done; the
// rest it has compiled as the interpreter's own compiler does. Where a package has no
// file in the folder that it is given, it leaves nothing.
const knownTool = "ad854eda533bc63f50fe690e226864a399f38ff3b897d8ee7717ebce69e47679"

// imported is the folder of the modules that py3compile imports.
const imported = "/" + toolDir + "debpython/"

// toolModule tells whether py3compile is asked to compile the file of that name.
func toolModule(name string) bool {
	return strings.HasPrefix(name, toolDir) && strings.HasSuffix(name, ".py")
}

// toolHash returns the hash of py3compile and what it reads.
func toolHash(nodes []tree.Node) string {
	h := sha256.New()
	for i := range nodes {
		n := &nodes[i]
		if n.Path == toolPath || strings.HasPrefix(n.Path, toolDir) && !n.Mode.IsDir() {
			fmt.Fprintf(h, "%s %v %x %s\n", n.Path, n.Mode, n.Sum, n.Link)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// asksTool tells whether the package has the py3compile that is known, for this Python,
// and has it called in the known way.
func (p Python) asksTool(from, by *pack.Pack) bool {
	return p == "python3.11" && bytes.Contains(by.Control["postinst"], []byte(toolCall)) && toolHash(from.Nodes) == knownTool
}
