// Renders a Helm chart to YAML: the part of `helm template` that the project's chart uses. Debian has no helm program.
// Standard library, sprig and yaml.v3 only; built by render-chart.sh with the packages of the distribution.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/ioutil"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

type object = map[string]interface{}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "render-chart:", err)
		os.Exit(1)
	}
}

func readYaml(path string) object {
	text, err := ioutil.ReadFile(path)
	check(err)
	result := object{}
	check(yaml.Unmarshal(text, &result))
	return result
}

// merge lays b over a; null removes a key, as in Helm.
func merge(a, b object) object {
	for key, value := range b {
		if value == nil {
			delete(a, key)
			continue
		}
		left, isObject := a[key].(object)
		right, alsoObject := value.(object)
		if isObject && alsoObject {
			a[key] = merge(left, right)
		} else {
			a[key] = value
		}
	}
	return a
}

// set handles --set a.b[0].c=value; with text, the value stays a string (--set-string). "\." is a dot inside of a key.
func set(values object, assignment string, text bool) {
	parts := strings.SplitN(assignment, "=", 2)
	if len(parts) != 2 {
		check(fmt.Errorf("--set %s: no '='", assignment))
	}
	var value interface{} = parts[1]
	if !text {
		check(yaml.Unmarshal([]byte(parts[1]), &value))
	}
	var path []interface{}
	const dot = "\x00"
	for _, part := range strings.Split(strings.ReplaceAll(parts[0], "\\.", dot), ".") {
		pieces := strings.Split(strings.ReplaceAll(part, dot, "."), "[")
		path = append(path, pieces[0])
		for _, piece := range pieces[1:] {
			index, err := strconv.Atoi(strings.TrimSuffix(piece, "]"))
			check(err)
			path = append(path, index)
		}
	}
	put(values, path, value)
}

func put(target interface{}, path []interface{}, value interface{}) interface{} {
	if len(path) == 0 {
		return value
	}
	switch key := path[0].(type) {
	case string:
		current, ok := target.(object)
		if !ok {
			current = object{}
		}
		current[key] = put(current[key], path[1:], value)
		return current
	case int:
		list, _ := target.([]interface{})
		for len(list) <= key {
			list = append(list, nil)
		}
		list[key] = put(list[key], path[1:], value)
		return list
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func toYaml(value interface{}) string {
	var buffer bytes.Buffer
	encoder := yaml.NewEncoder(&buffer)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return ""
	}
	return strings.TrimSuffix(buffer.String(), "\n")
}

type files struct{ root string }

func (f files) Get(name string) string {
	text, err := ioutil.ReadFile(filepath.Join(f.root, name))
	if err != nil {
		return ""
	}
	return string(text)
}

type versions []string

func (v versions) Has(name string) bool {
	for _, version := range v {
		if version == name {
			return true
		}
	}
	return false
}

func main() {
	var chart, release, namespace, kubeVersion = "", "release-name", "default", "v1.20.0"
	var notes, skipTests bool
	var apis = versions{"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "apiextensions.k8s.io/v1", "coordination.k8s.io/v1"}
	type change struct{ kind, text string }
	var changes []change

	arguments := os.Args[1:]
	next := func(name string) string {
		if len(arguments) == 0 {
			check(errors.New(name + " needs a value"))
		}
		value := arguments[0]
		arguments = arguments[1:]
		return value
	}
	for len(arguments) > 0 {
		argument := next("")
		if i := strings.Index(argument, "="); i > 0 && strings.HasPrefix(argument, "--") {
			arguments = append([]string{argument[i+1:]}, arguments...)
			argument = argument[:i]
		}
		switch argument {
		case "--set", "--set-string", "--values":
			changes = append(changes, change{argument, next(argument)})
		case "-f":
			changes = append(changes, change{"--values", next(argument)})
		case "--name":
			release = next(argument)
		case "--namespace", "-n":
			namespace = next(argument)
		case "--kube-version":
			kubeVersion = next(argument)
		case "--api-versions", "-a":
			apis = append(apis, strings.Split(next(argument), ",")...)
		case "--notes":
			notes = true
		case "--skip-tests":
			skipTests = true
		default:
			if strings.HasPrefix(argument, "-") || chart != "" {
				check(fmt.Errorf("unknown argument %s", argument))
			}
			chart = argument
		}
	}
	if chart == "" {
		check(errors.New("usage: render-chart CHART-FOLDER [--name N] [--namespace N] [--values FILE] [--set a.b=c] [--set-string a.b=c] [--api-versions A,B] [--kube-version V] [--skip-tests] [--notes]"))
	}

	// As in Helm: --values first, whatever the order on the command line, then --set.
	values := readYaml(filepath.Join(chart, "values.yaml"))
	for _, c := range changes {
		if c.kind == "--values" {
			values = merge(values, readYaml(c.text))
		}
	}
	for _, c := range changes {
		if c.kind != "--values" {
			set(values, c.text, c.kind == "--set-string")
		}
	}

	if schema := filepath.Join(chart, "values.schema.json"); exists(schema) {
		rules := readYaml(schema) // JSON is YAML
		if problems := validate("values", values, rules, rules); len(problems) > 0 {
			sort.Strings(problems)
			check(errors.New(strings.Join(problems, "\n")))
		}
	}

	// Templates see the names of Chart.yaml with a capital first letter.
	about := object{}
	for key, value := range readYaml(filepath.Join(chart, "Chart.yaml")) {
		about[strings.ToUpper(key[:1])+key[1:]] = value
	}
	context := object{
		"Values":       values,
		"Chart":        about,
		"Files":        files{chart},
		"Release":      object{"Name": release, "Namespace": namespace, "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
		"Capabilities": object{"APIVersions": apis, "KubeVersion": object{"Version": kubeVersion, "GitVersion": kubeVersion}},
	}

	root := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	functions["include"] = func(name string, data interface{}) (string, error) {
		var buffer strings.Builder
		err := root.ExecuteTemplate(&buffer, name, data)
		return buffer.String(), err
	}
	functions["tpl"] = func(text string, data interface{}) (string, error) {
		clone, err := root.Clone()
		if err != nil {
			return "", err
		}
		parsed, err := clone.New("tpl").Parse(text)
		if err != nil {
			return "", err
		}
		var buffer strings.Builder
		err = parsed.Execute(&buffer, data)
		return buffer.String(), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return value, errors.New(message)
		}
		return value, nil
	}
	functions["fail"] = func(message string) (string, error) { return "", errors.New(message) }
	functions["lookup"] = func(string, string, string, string) object { return object{} }
	functions["toYaml"] = toYaml
	functions["toJson"] = func(value interface{}) (string, error) {
		text, err := json.Marshal(value)
		return string(text), err
	}
	functions["fromYaml"] = func(text string) (object, error) {
		result := object{}
		err := yaml.Unmarshal([]byte(text), &result)
		return result, err
	}
	functions["fromYamlArray"] = func(text string) ([]interface{}, error) {
		var result []interface{}
		err := yaml.Unmarshal([]byte(text), &result)
		return result, err
	}
	functions["fromJson"] = functions["fromYaml"]
	root.Funcs(functions)

	var names []string
	check(filepath.Walk(filepath.Join(chart, "templates"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := ioutil.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(chart, path)
		if skipTests && strings.HasPrefix(name, "templates/tests/") {
			return nil
		}
		if _, err = root.New(name).Parse(string(text)); err != nil {
			return err
		}
		base := filepath.Base(path)
		isNotes := base == "NOTES.txt"
		if strings.HasPrefix(base, "_") || isNotes != notes || (!notes && !strings.HasSuffix(base, ".yaml")) {
			return nil
		}
		names = append(names, name)
		return nil
	}))

	sort.Strings(names)
	type document struct {
		source, text string
		order        int
	}
	var documents []document
	for _, name := range names {
		context["Template"] = object{"Name": name, "BasePath": "templates"}
		var buffer strings.Builder
		check(root.ExecuteTemplate(&buffer, name, context))
		// As in Helm, a value that is not there is nothing.
		for _, text := range regexp.MustCompile(`(?m)^---\s*$`).Split(strings.ReplaceAll(buffer.String(), "<no value>", ""), -1) {
			content := object{}
			if !notes {
				if err := yaml.Unmarshal([]byte(text), &content); err != nil {
					check(fmt.Errorf("%s is no valid YAML: %v", name, err))
				}
			}
			if notes || len(content) > 0 {
				documents = append(documents, document{name, strings.TrimSpace(text), kindOrder(content["kind"])})
			}
		}
	}

	// Nothing is printed before everything was rendered, and objects come in the order in which Helm creates them.
	sort.SliceStable(documents, func(i, j int) bool { return documents[i].order < documents[j].order })
	for _, d := range documents {
		if notes {
			fmt.Println(d.text)
		} else {
			fmt.Printf("---\n# Source: %s\n%s\n", d.source, d.text)
		}
	}
}

func kindOrder(kind interface{}) int {
	for i, known := range []string{"Namespace", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap",
		"PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service"} {
		if kind == known {
			return i
		}
	}
	return 1000
}

// validate checks values against the parts of JSON schema that values.schema.json uses.
func validate(path string, value interface{}, schema, root object) (problems []string) {
	if reference, ok := schema["$ref"].(string); ok {
		schema = root["definitions"].(object)[strings.TrimPrefix(reference, "#/definitions/")].(object)
	}
	say := func(format string, arguments ...interface{}) {
		problems = append(problems, path+": "+fmt.Sprintf(format, arguments...))
	}
	if wanted, ok := schema["type"].(string); ok {
		found := fmt.Sprintf("%T", value)
		switch value.(type) {
		case object:
			found = "object"
		case []interface{}:
			found = "array"
		case int:
			found = "integer"
		case bool:
			found = "boolean"
		}
		if found != wanted && !(wanted == "number" && found == "integer") {
			say("is %s, not %s", found, wanted)
			return
		}
	}
	if choices, ok := schema["enum"].([]interface{}); ok {
		found := false
		for _, choice := range choices {
			found = found || choice == value
		}
		if !found {
			say("must be one of %v", choices)
		}
	}
	switch v := value.(type) {
	case object:
		properties, _ := schema["properties"].(object)
		required, _ := schema["required"].([]interface{})
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				say("%s is required", name)
			}
		}
		for name, item := range v {
			if property, ok := properties[name].(object); ok {
				problems = append(problems, validate(path+"."+name, item, property, root)...)
			} else if other, ok := schema["additionalProperties"].(object); ok {
				problems = append(problems, validate(path+"."+name, item, other, root)...)
			} else if schema["additionalProperties"] == false {
				say("%s is not known", name)
			}
		}
	case []interface{}:
		if items, ok := schema["items"].(object); ok {
			for i, item := range v {
				problems = append(problems, validate(fmt.Sprintf("%s[%d]", path, i), item, items, root)...)
			}
		}
	case string:
		if length, ok := schema["minLength"].(int); ok && len(v) < length {
			say("is too short")
		}
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			say("does not match %s", pattern)
		}
	case int:
		if limit, ok := schema["minimum"].(int); ok && v < limit {
			say("is less than %d", limit)
		}
		if limit, ok := schema["maximum"].(int); ok && v > limit {
			say("is more than %d", limit)
		}
	}
	return
}
