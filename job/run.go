package job

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
)

// Hypervisors are the words that machines.hypervisor allows.
var Hypervisors = []string{"auto", "uml", "qemu"}

func (r *reader) run(n *yaml.Node, run *ore.Run) {
	var command, script *yaml.Node // their keys
	r.mapping("run", n, map[string]field{
		"command": func(k, v *yaml.Node) { command, run.Command = k, r.strs("run.command", v) },
		"script": func(k, v *yaml.Node) {
			script = k
			run.Script, _ = r.str("run.script", v)
		},
		"mode": func(_, v *yaml.Node) {
			s, _ := r.word("run.mode", v, string(ore.Each), string(ore.First), string(ore.Array))
			run.Mode = ore.Mode(s)
		},
		"tasks":   func(_, v *yaml.Node) { run.Tasks = r.tasks(v) },
		"env":     func(_, v *yaml.Node) { run.Env = r.env(v) },
		"secrets": func(_, v *yaml.Node) { run.Secrets = r.secrets(v) },
		"inputs":  func(_, v *yaml.Node) { run.Inputs = r.inputs(v) },
		"outputs": func(_, v *yaml.Node) { run.Outputs = r.outputs(v) },
		"timeout": func(_, v *yaml.Node) { run.Timeout = r.duration("run.timeout", v, MaxTimeout) },
		"retries": func(_, v *yaml.Node) { run.Retries, _ = r.integer("run.retries", v, 0, MaxRetries) },
		"publish": func(_, v *yaml.Node) { run.Publish = r.publish(v) },
	})
	if command != nil && script != nil {
		later := command
		if script.Line > command.Line || script.Line == command.Line && script.Column > command.Column {
			later = script
		}
		r.fault(later, "run.command and run.script: a job has one of them: leave one out")
	}
}

func (r *reader) tasks(n *yaml.Node) ore.Tasks {
	var t ore.Tasks
	r.mapping("run.tasks", n, map[string]field{
		"from": func(_, v *yaml.Node) { t.From, _ = r.path("run.tasks.from", v) },
		"glob": func(_, v *yaml.Node) { t.Glob, _ = r.path("run.tasks.glob", v) },
	})
	if (t.From == "") == (t.Glob == "") {
		r.fault(n, "run.tasks needs either from or glob")
	}
	return t
}

func (r *reader) env(n *yaml.Node) map[string]string {
	env := map[string]string{}
	r.pairs("run.env", n, func(k, v *yaml.Node) {
		if !variable(k.Value) {
			r.fault(k, "run.env: %q is not a variable's name: letters, digits and _, and no ORE_ before it", k.Value)
		}
		env[k.Value], _ = r.str("run.env."+k.Value, v)
	})
	return env
}

func (r *reader) secrets(n *yaml.Node) map[string]ore.Secret {
	secrets := map[string]ore.Secret{}
	r.pairs("run.secrets", n, func(k, v *yaml.Node) {
		if !variable(k.Value) {
			r.fault(k, "run.secrets: %q is not a variable's name: letters, digits and _, and no ORE_ before it", k.Value)
		}
		var s ore.Secret
		r.mapping("secret "+k.Value, v, map[string]field{
			"file": func(_, v *yaml.Node) { s.File, _ = r.path("file", v) },
		})
		if s.File == "" {
			r.fault(v, "secret %s needs file", k.Value)
		}
		secrets[k.Value] = s
	})
	return secrets
}

// inputs reads a list of paths, and of mappings for what is mounted.
func (r *reader) inputs(n *yaml.Node) []ore.Input {
	var all []ore.Input
	r.list("run.inputs", n, func(v *yaml.Node) {
		var in ore.Input
		if top := r.follow(v); top == nil || top.Kind != yaml.MappingNode {
			if p, ok := r.path("an item of run.inputs", v); ok {
				all = append(all, ore.Input{Source: p})
			}
			return
		}
		r.mapping("an input", v, map[string]field{
			"source": func(_, v *yaml.Node) { in.Source, _ = r.path("source", v) },
			"mount": func(_, v *yaml.Node) {
				s, ok := r.str("mount", v)
				if !ok {
					return
				}
				if why := unmountable(s); why != "" {
					r.fault(v, "mount is %q: %s", s, why)
				}
				in.Mount = s
			},
		})
		if in.Source == "" {
			r.fault(v, "an input needs source")
		}
		all = append(all, in)
	})
	return all
}

func (r *reader) outputs(n *yaml.Node) []string {
	var all []string
	r.list("run.outputs", n, func(v *yaml.Node) {
		s, ok := r.str("an item of run.outputs", v)
		if !ok {
			return
		}
		if !relativePattern(s) {
			r.fault(v, "output %q: allowed is a pattern relative to the job's folder, without ..", s)
		}
		all = append(all, s)
	})
	return all
}

func (r *reader) publish(n *yaml.Node) []ore.Port {
	var all []ore.Port
	r.list("run.publish", n, func(v *yaml.Node) {
		s, ok := r.str("an item of run.publish", v)
		if !ok {
			return
		}
		p, err := ParsePort(s)
		if err != nil {
			r.fault(v, "%v", err)
		}
		all = append(all, p)
	})
	return all
}

func relativePattern(s string) bool {
	return s != "" && !strings.HasPrefix(s, "/") && !slices.Contains(strings.Split(s, "/"), "..")
}

// variable says whether s can name an environment variable of the job.
func variable(s string) bool {
	if s == "" || strings.HasPrefix(s, "ORE_") || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
