// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
)

// describe returns the exported names of a package, a line each, or of these
// names alone. Parameters
// have no names here, and fields no order: neither is part of the promise.
func describe(p *types.Package, only ...string) (list []string) {
	say := func(format string, a ...any) {
		list = append(list, "pkg "+p.Path()+", "+fmt.Sprintf(format, a...))
	}
	name := func(t types.Type) string {
		return types.TypeString(t, func(o *types.Package) string {
			if o == p && only == nil { // else they are to be found in turn
				return ""
			}
			return o.Path()
		})
	}
	for _, n := range p.Scope().Names() {
		o := p.Scope().Lookup(n)
		if !o.Exported() || only != nil && !slices.Contains(only, n) {
			continue
		}
		switch o := o.(type) {
		case *types.Const:
			say("const %s %s = %s", n, name(o.Type()), o.Val().ExactString())
		case *types.Var:
			say("var %s %s", n, name(o.Type()))
		case *types.Func:
			say("func %s%s", n, signature(o.Signature(), name))
		case *types.TypeName:
			if o.IsAlias() {
				say("type %s = %s", n, name(types.Unalias(o.Type())))
				continue
			}
			t, ok := o.Type().(*types.Named)
			if !ok {
				continue
			}
			typeLines(t, name, say)
		}
	}
	return list
}

func typeLines(t *types.Named, name func(types.Type) string, say func(string, ...any)) {
	n := t.Obj().Name()
	var params []string
	for i := range t.TypeParams().Len() {
		p := t.TypeParams().At(i)
		params = append(params, p.Obj().Name()+" "+name(p.Constraint()))
	}
	if params != nil {
		say("type %s[%s]", n, strings.Join(params, ", "))
	}
	switch u := t.Underlying().(type) {
	case *types.Struct:
		say("type %s struct", n)
		for i := range u.NumFields() {
			f := u.Field(i)
			switch {
			case f.Exported() && f.Embedded():
				say("type %s struct, embedded %s", n, name(f.Type()))
			case f.Exported():
				say("type %s struct, %s %s", n, f.Name(), name(f.Type()))
			}
		}
	case *types.Interface:
		hidden := ""
		for i := range u.NumMethods() {
			if !u.Method(i).Exported() {
				hidden = ", closed" // nobody else can have it, so it may grow
			}
		}
		say("type %s interface%s", n, hidden)
		for i := range u.NumMethods() {
			if m := u.Method(i); m.Exported() {
				say("type %s interface, %s%s", n, m.Name(), signature(m.Signature(), name))
			}
		}
	default:
		say("type %s %s", n, name(u))
	}
	// The methods of the pointer are those that a variable has, promoted ones
	// included.
	if _, ok := t.Underlying().(*types.Interface); ok {
		return
	}
	value := types.NewMethodSet(t)
	all := types.NewMethodSet(types.NewPointer(t))
	for i := range all.Len() {
		m := all.At(i).Obj().(*types.Func)
		if !m.Exported() {
			continue
		}
		receiver := "*" + n
		if value.Lookup(m.Pkg(), m.Name()) != nil {
			receiver = n
		}
		say("method (%s) %s%s", receiver, m.Name(), signature(m.Signature(), name))
	}
}

func signature(s *types.Signature, name func(types.Type) string) string {
	var in, out []string
	for i := range s.Params().Len() {
		t := name(s.Params().At(i).Type())
		if s.Variadic() && i == s.Params().Len()-1 {
			t = "..." + strings.TrimPrefix(t, "[]")
		}
		in = append(in, t)
	}
	for i := range s.Results().Len() {
		out = append(out, name(s.Results().At(i).Type()))
	}
	text := "(" + strings.Join(in, ", ") + ")"
	if tp := s.TypeParams(); tp.Len() > 0 {
		var params []string
		for i := range tp.Len() {
			params = append(params, tp.At(i).Obj().Name()+" "+name(tp.At(i).Constraint()))
		}
		text = "[" + strings.Join(params, ", ") + "]" + text
	}
	switch len(out) {
	case 0:
		return text
	case 1:
		return text + " " + out[0]
	}
	return text + " (" + strings.Join(out, ", ") + ")"
}
