package foreign

import (
	"math/rand"
	"strings"
	"testing"

	"ore/foreign/names"
)

// mangle changes a text as people and broken disks do: lines and words are
// lost, doubled, moved and cut, characters changed.
func mangle(r *rand.Rand, text string) string {
	lines := strings.Split(text, "\n")
	for range 1 + r.Intn(8) {
		i, k := r.Intn(len(lines)), r.Intn(len(lines))
		switch r.Intn(6) {
		case 0:
			lines[i] = ""
		case 1:
			lines[i] = lines[k]
		case 2:
			a, b := strings.Fields(lines[i]), strings.Fields(lines[k])
			if len(a) > 0 && len(b) > 0 {
				a[r.Intn(len(a))] = b[r.Intn(len(b))]
				lines[i] = strings.Join(a, " ")
			}
		case 3:
			lines[i] = lines[i][:r.Intn(len(lines[i])+1)]
		case 4:
			if b := []byte(lines[i]); len(b) > 0 {
				b[r.Intn(len(b))] = "\x01\xff \"'=-/.{}()<%#:9\\$\t"[r.Intn(20)]
				lines[i] = string(b)
			}
		case 5:
			lines[i] += strings.Repeat(lines[k], r.Intn(3)) + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// Whatever is wrong in a description, a job file comes out, which Import proves.
func TestMangledFilesBecomeJobFiles(t *testing.T) {
	table, rounds := names.RPM(), 40
	for kind, paths := range map[string][]string{
		"kickstart": {"cluster.ks"}, "preseed": {"server.preseed"}, "fai": {"fai"},
		"lucie": {"lucie/resource.rb", "lucie/partition.rb", "lucie/package.rb", "lucie/partition.old"},
	} {
		for _, path := range paths {
			whole := load(t, path)
			for seed := range rounds {
				r := rand.New(rand.NewSource(int64(seed)))
				var all []Source
				for _, s := range whole {
					all = append(all, Source{s.Name, []byte(mangle(r, string(s.Data)))})
				}
				req := Request{Kind: kind, Name: path, Names: table, Classes: []string{"FAIBASE", "CLUSTER", "LAST"}, Sources: all}
				if _, err := Import(req); err != nil {
					t.Errorf("%s, seed %d: %v", path, seed, err)
				}
			}
		}
	}
}
