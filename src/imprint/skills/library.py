from pathlib import Path
import yaml
from imprint.skills.skill import Skill
class SkillLibrary:
    def __init__(s, skills): s.skills=tuple(sorted(skills,key=lambda k:(k.metadata['tasks']!='*',k.name))); s.names=tuple(k.name for k in s.skills)
    def __getitem__(s,n): return next(k for k in s.skills if k.name==n)
    def serving(s,c): return tuple(k for k in s.skills if k.metadata['tasks'] in ('*',c))
    def check(s,c): pass
    @classmethod
    def load(cls,f):
        out=[]
        for p in sorted(Path(f).glob('*/SKILL.md')):
            _,fm,b=p.read_text().split('---\n',2); d=yaml.safe_load(fm); out.append(Skill(d['name'],d['description'],b.strip(),metadata=d['metadata']))
        return cls(out)
def household_library(): return SkillLibrary.load(Path('/tmp/skills'))
